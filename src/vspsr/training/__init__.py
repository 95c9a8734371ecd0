"""Losses and, in time, the training system: nothing here is needed to use a model."""
