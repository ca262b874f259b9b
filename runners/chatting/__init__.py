"""A question to a policy, in the form in which it was trained, and its answer."""
