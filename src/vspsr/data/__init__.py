"""Training data: files and their layouts, downloads, and crops that are a pure function of a seed."""
