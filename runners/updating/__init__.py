"""From a batch to new weights: the model that scores, the optimizer steps, the critic, sharding. No ray in here."""
