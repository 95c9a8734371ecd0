"""vspsr: the super-resolution space of an image."""

__version__ = "0.1.0"
