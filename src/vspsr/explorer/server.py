"""Starts the explorer: address, token, browser."""

import socket
import threading
import warnings
import webbrowser
from collections.abc import Callable
from pathlib import Path

from vspsr.errors import ConditionWarning, VSpSRError
from vspsr.explorer.app import create_app
from vspsr.model import VSpSR


def serve(
    model: VSpSR,
    name: str,
    photo: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    was_jpeg: bool = False,
    started: Callable[[str], None] = print,
) -> None:
    """Serve the explorer until the process is interrupted.

    Args:
        model, name, photo, was_jpeg: as in `create_app`.
        host: address or name to listen at.
        port: 0 for any that is free.
        browser: whether to open the address in the browser.
        started: called with the address, token included, once the server listens.

    Raises:
        VSpSRError: the address cannot be used, or the server does not start.
    """
    import uvicorn

    warnings.simplefilter("ignore", ConditionWarning)  # the page says it for each edit
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise VSpSRError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    hosts = frozenset({host.lower()} - {""})
    app = create_app(model, name, hosts=hosts, photo=photo, was_jpeg=was_jpeg)
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{listening.getsockname()[1]}/?token={app.state.token}"
    started(address)
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    if not server.started:
        raise VSpSRError("the server did not start: the lines above say why")
