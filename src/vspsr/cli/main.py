"""The command line: which commands there are, and one line for every error."""

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from vspsr.cli import assess, data, evaluate, explore, figures, images, models, train
from vspsr.cli.console import (
    EXIT_CODES,
    ExitCode,
    configure,
    encode_anything,
    print_error,
    print_line,
    print_warnings,
    stop_code,
    stopping_signals,
)
from vspsr.errors import is_expected
from vspsr.files import one_line
from vspsr.version import __version__

# What typer raises of options: click's exception, or that of its own copy of click.
_UsageProblem: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class _Group(TyperGroup):
    """The commands. Ctrl-C and SIGTERM end them with one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:  # typer would drop its text
            raise typer.Exit(stop_code(stop)) from None


app = typer.Typer(
    name="vspsr",
    cls=_Group,
    help="The super-resolution space of an image: sample it and measure it. Its members downscale to the input.",
    epilog="Exit codes:\n\n" + "\n\n".join(f"{code:>3}  {text}" for code, text in EXIT_CODES.items()),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)


def _version(value: bool) -> None:
    if value:
        print_line(f"vspsr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
) -> None:
    assert isinstance(context.command, TyperGroup)
    command = context.command.commands.get(context.invoked_subcommand or "")
    # A recipe has keys of the names of `train`'s options.
    parameters = [] if command is None or command.name == "train" else command.params
    configure(debug, {p.name: p.opts[0] for p in parameters if p.name and p.opts[0].startswith("--")})


_commands: list[Callable[..., None]] = [images.upscale, images.degrade, assess.check]
_commands += [assess.project, assess.assess, assess.calibrate, models.models, models.info]
_commands += [evaluate.evaluate, evaluate.baselines, explore.explore, figures.figures, train.train, train.export]
for _command in _commands:
    app.command()(_command)
_data = typer.Typer(help="Training data.", no_args_is_help=True)
_data.command()(data.fetch)
app.add_typer(_data, name="data")
_hints = [hint for function in (*_commands, data.fetch) for hint in get_type_hints(function).items()]
_PATHS = {"-o", *(f"--{name.replace('_', '-')}" for name, kind in _hints if kind in (Path, Path | None))}
"""Options that take a path."""


def main() -> None:
    """Entry point: every error is one line on standard error and a non-zero exit code."""
    encode_anything()
    print_warnings()
    configure(False, {})
    try:
        for before, argument in pairwise(sys.argv):
            option = argument.removesuffix("=") if argument else before
            if (not argument and not before.startswith("-")) or (option != argument and option in _PATHS):
                raise ValueError(f"an empty path after {one_line(before)}: the current folder is `.`")
        with stopping_signals():
            code = app(prog_name="vspsr", standalone_mode=False)
    except _UsageProblem as problem:
        _print_usage_error(problem)
        sys.exit(ExitCode.NOTHING_DONE)
    except typer.Abort:
        sys.exit(1)
    except KeyboardInterrupt as stop:  # before the command began
        sys.exit(stop_code(stop))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        print_error(error)
        sys.exit(ExitCode.NOTHING_DONE if is_expected(error) else ExitCode.INTERNAL_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _print_usage_error(problem: Any) -> None:
    """One line where an option or its value is not known; the help where no command was given."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        problem.show()
        return
    context = problem.ctx
    hint = f": see {context.command_path} --help" if context else ""
    text = one_line(problem.format_message()).replace(": Value error, ", ": ", 1)  # pydantic's prefix
    print_error(f"{text.rstrip('.')}{hint}")
