"""The learner's weights on their way to every engine, over one of few paths. No ray in here."""
