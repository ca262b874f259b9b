"""A look at a few dozen completions before step 1: what would spoil a run is said before it has cost hours."""
