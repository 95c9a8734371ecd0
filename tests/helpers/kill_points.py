"""A run of `upscale_files` that is killed at each renaming of a complete file, before and after it, and then run again.

As a program, `kill_points.py PHOTO FOLDER`: one sub-folder for each point, in a process that libvips has not been used
in, so that it can be forked.
"""

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from vspsr import VSpSR
from vspsr.images.picture import Picture
from vspsr.images.sheets import contact_sheet
from vspsr.upscaling import PictureSpace
from vspsr.upscaling.folders import Options, upscale_files
from vspsr.upscaling.models import Models

ALL = Options(samples=2, mean=True, stddev=True, contact_sheet=True)


def small_model(seed: int = 0, temperature: float = 1.0) -> VSpSR:
    torch.manual_seed(seed)
    options = {"scale": 2, "n_atoms": 2, "channels": 4, "blocks": 1, "n_modes": 1}
    return VSpSR("overlapping", options, temperature=temperature)


def ending(at: int, after: bool, end: Callable[[], None]) -> Callable[[Path, Path], Path]:
    """`Path.replace` that calls ``end`` in its ``at``-th call, before or after renaming."""
    rename, calls = Path.replace, count(1)

    def replace(path: Path, target: Path) -> Path:
        number = next(calls)
        if number == at and not after:
            end()
        done = rename(path, target)
        if number == at and after:
            end()
        return done

    return replace


def forked(function: Callable[[], object]) -> int:
    """The exit code of a call in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(photo: Path, folder: Path) -> None:
    """See the module."""
    model = small_model()
    picture = Picture(torch.zeros(1, 3, 4, dtype=torch.int32))
    space = PictureSpace(model, picture)  # what torch imports when it is first used need not be imported in each fork
    contact_sheet(picture, space.mean()[0], space.stddev(), [space.sample(0)[0]], "")
    for at in count(1):
        codes = set()
        for after in (False, True):
            here = folder / f"{at}{after}"
            here.mkdir(parents=True)

            def run(here: Path = here) -> None:
                list(upscale_files({photo: Path()}, here, Models("m", load=lambda _: model), ALL))

            def killed(at: int = at, after: bool = after, run: Callable[[], None] = run) -> None:
                Path.replace = ending(at, after, lambda: os._exit(9))  # type: ignore[method-assign,assignment]
                run()

            codes.add(forked(killed))
            if forked(run):
                sys.exit(f"{here}: cannot go on")
        if codes == {0}:
            return
        if codes != {9}:
            sys.exit(f"{at}: {codes}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
