"""Evaluation: super-resolution measured as the NTIRE 2021 challenge does, and beside the field's baselines."""
