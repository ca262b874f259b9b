"""Steps of a run that are kept whole, to be done again without engine and environment."""
