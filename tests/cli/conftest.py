"""`vspsr` in this process for all tests of this folder."""

from command_line import run

__all__ = ["run"]
