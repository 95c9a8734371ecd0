"""The errors a user can cause: each message is one line that names the argument, its value and what to do."""

__all__ = ["ConsistencyWarning", "ImageFileError", "ModelError", "OutputError", "VSpSRError"]


class VSpSRError(Exception):
    """Base of every error that vspsr raises on purpose and the command line prints as one line."""


class ImageFileError(VSpSRError):
    """An image file cannot be read: missing, corrupt, truncated, empty, too large or of an unsupported kind."""


class OutputError(VSpSRError):
    """An output cannot be written: missing or unwritable folder, full disk, file exists."""


class ModelError(VSpSRError):
    """A model cannot be loaded: unknown name, wrong keys or shapes, broken configuration."""


class ConsistencyWarning(UserWarning):
    """No integer image in range was found that downscales to the LR image exactly."""
