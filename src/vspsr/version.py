"""The version of vspsr."""

__version__ = "0.1.0"
