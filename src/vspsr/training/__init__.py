"""Recipes, losses, training runs and their export: nothing here is needed to use a model."""
