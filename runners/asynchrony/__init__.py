"""Sampling that goes on while the learner updates: `max_staleness`. No ray in here."""
