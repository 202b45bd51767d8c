"""The front door: finds the command, and turns every error into one message.

Nothing heavy is imported here, nor at the head of any command's module: ``--help`` has to answer
at once.
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from volproc.cli.signals import Stop
from volproc.core.errors import VolprocError, nearest
from volproc.core.refusals import CURES, explain_refusal

FAILED = 1

KEPT = "What is finished is kept. To go on:"
ANEW = "Nothing is kept. To begin again:"
GOES_ON = {
    "segment": (KEPT, ""),
    "localize": (KEPT, ""),
    "train": (KEPT, "--resume"),
    "create-targets": (KEPT, "--overwrite"),
    "import": (KEPT, "--resume"),
    "membrane-extract": (KEPT, ""),
    "demo": (ANEW, "--overwrite"),
    "semantic-predict": (KEPT, ""),
    "semantic-to-centers": (KEPT, ""),
    "semantic-postprocessing": (KEPT, ""),
}
"""Command that was interrupted → what is said, and the option that it needs to go on; `ANEW` and
none for all others."""

COMMANDS = {
    "demo": ("volproc.cli.demo:demo", "Make phantoms, segment them, find particles, score them."),
    "info": ("volproc.cli.info:info", "Say what is in volumes: format, size, voxel size."),
    "plan": ("volproc.cli.plan:plan", "Say what a segmentation takes, before it runs."),
    "segment": ("volproc.cli.segment:segment", "Give every voxel a class."),
    "localize": ("volproc.cli.localize:localize", "Find particle centres in a class map."),
    "evaluate": ("volproc.cli.evaluate:evaluate", "Score particle centres against known ones."),
    "import": (
        "volproc.cli.import_tomograms:import_tomograms",
        "Put tomograms into a copick project.",
    ),
    "convert": ("volproc.cli.convert:convert", "Copy a volume into another format."),
    "denoise": ("volproc.cli.denoise:denoise", "Denoise a tomogram with CryoSiam's denoiser."),
    "lamella": ("volproc.cli.lamella:lamella", "Make one clean slab of a predicted lamella."),
    "verify": ("volproc.cli.verify:verify", "Compute parts of a run again and compare the bits."),
    "seams": ("volproc.cli.verify:seams", "Say whether a result shows the blocks it was made in."),
    "cluster": ("volproc.cli.cluster:cluster", "Show what a cluster would be asked for."),
    "create-targets": (
        "volproc.cli.create_targets:create_targets",
        "Paint picks as balls, to train a network on.",
    ),
    "train": ("volproc.cli.train:train", "Train a model."),
    "membrane-extract": (
        "volproc.cli.membrane:membrane_extract",
        "Find picks beside a membrane, and turn them.",
    ),
    "octopi": ("volproc.cli.octopi:octopi", "Octopi's commands, with its flags and numbers."),
    "cryosiam": (
        "volproc.cli.cryosiam:cryosiam",
        "CryoSiam's commands, with its yaml files and numbers.",
    ),
}
"""Name of a command → where it is, and its line in the help. A command's module is imported when
it is called."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.lazy:
            return None
        module, _, name = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was meant, or name the nearest one."""
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            ctx.fail(f'no command "{args[0]}", {nearest(args[0], self.lazy)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.lazy.items()])


class _Messages(logging.Handler):
    """Shows what the library has to say on stderr, above a progress bar where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="volproc", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and more messages.")
@click.pass_context
def volproc(ctx: click.Context, debug: bool) -> None:
    """Segment and count in volumes of any size: open, plan, predict, reduce, write."""
    ctx.obj = {"debug": debug}
    logger = logging.getLogger("volproc")
    logger.setLevel(logging.INFO if debug else logging.WARNING)
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 failed, 2 misused, 128 + n ended by signal n."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    stop = Stop()
    stop.listen()
    status = run(words)
    stop.is_over = True
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run a command line and return the exit status."""
    debug = "--debug" in arguments
    try:
        result = volproc.main(args=arguments, prog_name="volproc", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt as error:
        return _interrupted(arguments, error)
    except click.Abort as error:  # click makes one of an interrupt, and of a file that ends early
        cause = error.__cause__ or error
        if isinstance(cause, EOFError):
            return _unforeseen(cause, debug)
        return _interrupted(arguments, cause)
    except VolprocError as error:
        return _fail(error, str(error), debug)
    except OSError as error:
        status = _fail(error, explain_refusal(error), debug)
        text, how = _how_to_go_on(arguments)
        if error.errno in CURES and text == KEPT:
            click.echo(f"{text}\n  {how}", err=True)
        return status
    except Exception as error:  # the door: nothing but a message leaves the house
        return _unforeseen(error, debug)
    return result if isinstance(result, int) else 0


def _interrupted(arguments: list[str], error: BaseException) -> int:
    """Say how to go on."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else signal.SIGINT
    text, how = _how_to_go_on(arguments)
    click.echo(f"Interrupted by {signal.Signals(number).name}. {text}\n  {how}", err=True)
    return 128 + number


def _how_to_go_on(arguments: list[str]) -> tuple[str, str]:
    """What is kept of a command that did not end, and the command that goes on."""
    words = [word for word in arguments if not word.startswith("-")]
    command = next(iter(words[1:] if words[:1] in (["octopi"], ["cryosiam"]) else words), "")
    text, option = GOES_ON.get(command, (ANEW, ""))
    again = [*arguments, option] if option and option not in arguments else arguments
    return text, shlex.join(["volproc", *again])


def _unforeseen(error: BaseException, debug: bool) -> int:
    """Say what should not happen."""
    text = (
        f"{type(error).__name__}: {error}. This should not happen: run "
        "volproc --debug with the same arguments, and report what it prints."
    )
    return _fail(error, text, debug)


def _fail(error: BaseException, text: str, debug: bool) -> int:
    """Say what went wrong and where."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    where = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
    click.echo(f"Error: {text}{where}", err=True)
    return FAILED
