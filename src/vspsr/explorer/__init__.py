"""The explorer: the space of a picture in a web page, served to the machine it runs on."""

from vspsr.explorer.app import create_app
from vspsr.explorer.limits import Limits
from vspsr.explorer.server import serve

__all__ = ["Limits", "create_app", "serve"]
