"""Training data: where images lie, what is paired with what, and crops that are a pure function of a seed."""
