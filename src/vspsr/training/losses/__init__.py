"""Losses and their options."""
