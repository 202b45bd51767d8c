"""The frame of the command line: exit status, one message an error, quick help."""

import signal
import subprocess
import sys

import click
import pytest

from volproc.cli import main
from volproc.cli.main import COMMANDS, LazyGroup, run
from volproc.core.errors import ClusterError

HEAVY = ("numpy", "torch", "dask", "distributed", "pandas", "zarr", "rich", "pydantic", "scipy")


def commands(table: dict[str, tuple[str, str]], path: tuple[str, ...] = ()) -> list[list[str]]:
    """Every command as the words that call it."""
    group = LazyGroup(lazy=table)
    found = []
    for name in table:
        command = group.get_command(click.Context(group), name)
        found.append([*path, name])
        if isinstance(command, LazyGroup):
            found += commands(command.lazy, (*path, name))
    return found


def test_help_loads_nothing_heavy() -> None:
    asked = [[], *commands(COMMANDS)]
    code = (
        "import sys\n"
        "from volproc.cli.main import run\n"
        f"for words in {asked!r}:\n"
        "    assert run([*words, '--help']) == 0, words\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert not loaded, (words, loaded)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    for words in asked:
        assert any(line.startswith(" ".join(["Usage: volproc", *words])) for line in said), words


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, line) in COMMANDS.items():
        assert name in out
        assert line.split()[0] in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inof"], 'no command "inof", did you mean "info"?'),
        (["info"], "Missing argument 'ADDRESS...'"),
        (["info", "--leve", "1", "x"], "No such option"),
        (["info", "--level", "-1", "x"], "Invalid value for '--level'"),
    ],
)
def test_misuse_is_status_two(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that raises what the test puts into this list."""
    errors: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setattr(main, "fail", fail, raising=False)
    monkeypatch.setitem(COMMANDS, "fail", ("volproc.cli.main:fail", "Fail."))
    return errors


def test_an_error_is_one_message_and_status_one(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    error = ClusterError("no cluster, got none. Start one.")
    error.add_note("in block (0, 1, 2) of predict")
    failing.append(error)
    assert run(["fail"]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "Error: no cluster, got none. Start one.\n  in block (0, 1, 2) of predict\n"
    )
    assert captured.out == ""


def test_an_unforeseen_error_has_no_traceback_unless_asked(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ZeroDivisionError("by nothing"))
    assert run(["fail"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ZeroDivisionError: by nothing. This should not happen")
    assert "Traceback" not in err
    assert run(["--debug", "fail"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_one_message(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(OSError(28, "No space left on device", "out.zarr"))
    assert run(["fail"]) == 1
    text = "out.zarr: No space left on device. Make room on the disk, or write to another one."
    assert capsys.readouterr().err == f"Error: {text}\n"


def test_a_full_disk_says_how_to_go_on_where_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(args: list[str], **options: object) -> None:
        raise OSError(28, "No space left on device", "out.zarr")

    monkeypatch.setattr(main.volproc, "main", full)
    assert run(["segment", "semantic", "a.mrc"]) == 1
    assert capsys.readouterr().err.endswith(
        "What is finished is kept. To go on:\n  volproc segment semantic a.mrc\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["fail", "my file.mrc"],
            "Nothing is kept. To begin again:\n  volproc fail 'my file.mrc'\n",
        ),
        (["segment", "x"], "What is finished is kept. To go on:\n  volproc segment x\n"),
        (["train", "x"], "What is finished is kept. To go on:\n  volproc train x --resume\n"),
        (["train", "--resume"], "To go on:\n  volproc train --resume\n"),
        (["demo"], "Nothing is kept. To begin again:\n  volproc demo --overwrite\n"),
    ],
)
def test_an_interrupt_says_how_to_go_on(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt(signal.SIGTERM)

    monkeypatch.setattr(main.volproc, "invoke", interrupt)
    assert run(words) == 143
    err = capsys.readouterr().err
    assert err.strip().startswith("Interrupted by SIGTERM. ")
    assert err.endswith(said)


def test_an_interrupt_of_python_itself_is_ctrl_c(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(KeyboardInterrupt())
    assert run(["fail"]) == 130
    assert "Interrupted by SIGINT" in capsys.readouterr().err


def test_a_file_that_ends_early_is_no_interrupt(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(EOFError("the end came early"))
    assert run(["fail"]) == 1
    err = capsys.readouterr().err
    assert "EOFError: the end came early" in err
    assert "Interrupted" not in err


def test_importing_volproc_loads_neither_torch_nor_distributed() -> None:
    code = "import volproc, sys; sys.exit('torch' in sys.modules or 'distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
