"""`vspsr` and `python -m vspsr.cli`. Ctrl-C and SIGTERM end it with one line, also while Python imports."""

import os
import signal
from types import FrameType


def main() -> None:
    """`vspsr.cli.main.main`, which takes a second or more to import."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = {number: before for number, before in defaults.items() if signal.getsignal(number) is before}
    for number in ours:
        signal.signal(number, _end)
    from vspsr.cli.main import main as run

    for number, before in ours.items():
        signal.signal(number, before)
    run()


def _end(number: int, _: FrameType | None) -> None:
    """End at once: an exception may be lost in an import, and nothing has been begun."""
    os.write(2, b"stopped\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
