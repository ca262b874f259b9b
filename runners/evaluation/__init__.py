"""Measures an agent on the environment's problems: generation, scoring, statistics, and the files of both."""
