"""The command line: which commands there are, and one line for every error of the user's."""

import os
import sys
from typing import Annotated, Any

import typer

from vspsr.cli import data, evaluate, figures, images, models, train
from vspsr.cli.console import complain, is_out_of_memory, message, tell
from vspsr.errors import VSpSRError
from vspsr.files import one_line
from vspsr.version import __version__

# What typer raises of options: click's exception, or that of its own copy of click.
_UsageProblem: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="vspsr",
    help="The super-resolution space of an image: sample it, measure it; every member downscales to the input.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)


def _version(value: bool) -> None:
    if value:
        tell(f"vspsr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    pass


app.command(epilog="Example:  vspsr upscale photo.png -o out --samples 10 --mean --stddev --contact-sheet")(
    images.upscale
)
app.command(epilog="Example:  vspsr degrade hr/ -o lr --scale 4")(images.degrade)
app.command(epilog="Example:  vspsr check photo_x4_s00.png photo.png")(images.check)
app.command(epilog="Example:  vspsr models")(models.models)
app.command(epilog="Example:  vspsr info vspsr-x4")(models.info)
app.command(epilog=evaluate.EVALUATE_EPILOG)(evaluate.evaluate)
app.command(epilog=evaluate.BASELINES_EPILOG)(evaluate.baselines)
app.command(epilog=figures.EPILOG)(figures.figures)
app.command(epilog="Example:  vspsr train --config configs/x4.yaml --data photos -o runs/x4")(train.train)
app.command(epilog="Example:  vspsr export runs/x4 -o my-model")(train.export)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point: every error of the user's is one line on standard error and a non-zero exit code."""
    try:
        code = app(prog_name="vspsr", standalone_mode=False)
    except _UsageProblem as problem:
        _complain_of_usage(problem)
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (VSpSRError, ValueError, OSError, MemoryError) as error:
        complain(message(error))
        sys.exit(2)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        complain(message(error))
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _complain_of_usage(problem: Any) -> None:
    """One line where an option or its value is not known; the help where no command was given."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        problem.show()
        return
    context = problem.ctx
    hint = f": see {context.command_path} --help" if context else ""
    complain(f"{one_line(problem.format_message()).rstrip('.')}{hint}")


if __name__ == "__main__":
    main()
