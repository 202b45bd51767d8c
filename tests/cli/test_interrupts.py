"""Ctrl-C, SIGTERM and a closed terminal, on real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from volproc.cli.main import run
from volproc.cli.signals import Stop
from volproc.core.model import ModelSpec
from volproc.io.open import open_
from volproc.models.loading import save_model
from volproc.models.networks import build

VOLPROC = [sys.executable, "-c", "from volproc.cli.main import main; main()"]

DEADLINE_S = 300.0
"""Seconds after which a process that was waited for counts as stuck."""

TWO_SIGNALS = """
import sys, time
import click
from volproc.cli import main

@click.command()
def slow():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)

main.slow = slow
main.COMMANDS["slow"] = ("volproc.cli.main:slow", "Takes its time.")
main.main(["slow"])
"""

LOST_SIGNAL = """
import gc, signal, time
from volproc.cli import main

def run(words):
    left = [signal.SIGTERM, None]

    def collected(phase, info):
        if left and (number := left.pop(0)):
            signal.raise_signal(number)
        elif not left:
            gc.callbacks.clear()

    gc.callbacks.append(collected)
    try:
        gc.collect()
        time.sleep(60)
    except KeyboardInterrupt as error:
        return 128 + error.args[0]
    return 0

main.run = run
main.main([])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a volume of 27 blocks and a small model."""
    monkeypatch.chdir(tmp_path)
    volume = np.random.default_rng(0).normal(size=(48, 44, 36)).astype(np.float32)
    np.save("noise.npy", volume)
    params = {"in_channels": 1, "num_classes": 2, "widths": [4, 8]}
    torch.manual_seed(0)
    spec = ModelSpec("unet3d", "", (16, 16, 16), ("background", "ball"), {"widths": [4, 8]})
    save_model("tiny.pt", spec, build("unet3d", **params).state_dict())
    return tmp_path


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def segment(*words: str) -> list[str]:
    volume = ["noise.npy", "-vs", "10", "-m", "tiny.pt", "--chunks", "16", "--tta", "none"]
    return ["segment", "semantic", *volume, *words]


def num_blocks(log: Path) -> int:
    lines = log.read_text().splitlines() if log.exists() else []
    events = [json.loads(line) for line in lines]
    return sum(event["kind"] == "block" and event["stage"] == "predict" for event in events)


@pytest.mark.parametrize(
    ("number", "to_group", "cluster", "goes_on"),
    [
        (signal.SIGINT, True, ["--cluster", "local", "--workers", "1"], True),
        (signal.SIGTERM, False, ["--cluster", "local", "--workers", "1"], False),
        (signal.SIGHUP, True, ["--cluster", "threads", "--workers", "2"], True),
    ],
    ids=["ctrl-c-local", "term-local", "hangup-threads"],
)
def test_an_interrupted_run_is_clean_and_goes_on(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    to_group: bool,
    cluster: list[str],
    goes_on: bool,
) -> None:
    words = [*VOLPROC, *segment("-o", "out.zarr", "--log-json", "log.jsonl", *cluster)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, start_new_session=True, **pipes)
    wait_for(lambda: num_blocks(here / "log.jsonl") >= 1, process)
    children = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if to_group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number
    assert out == ""
    assert "Traceback" not in err
    assert f"Interrupted by {number.name}. What is finished is kept. To go on:\n" in err
    assert "volproc segment semantic noise.npy" in err.splitlines()[-1]
    assert "\x1b" not in err
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not (here / "out.zarr").exists()
    end = json.loads((here / "log.jsonl").read_text().splitlines()[-1])
    assert (end["kind"], end["status"]) == ("end", "interrupted")

    if not goes_on:
        return
    status = run(segment("-o", "out.zarr"))
    said = capsys.readouterr().err
    assert status == 0, said
    assert "done before" in said
    assert open_("out.zarr").shape == (48, 44, 36)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    words = [sys.executable, "-c", TWO_SIGNALS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=tmp_path, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ending\n"
    deadline = time.monotonic() + DEADLINE_S
    while process.poll() is None:  # a second one at once would be taken for the same
        process.send_signal(signal.SIGINT)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.returncode == 130
    err = process.communicate()[1]
    assert "The same signal again stops at once" in err
    assert "Traceback" not in err


def test_two_signals_at_once_are_one() -> None:
    now = [10.0]
    stop = Stop(lambda: now[0])
    with pytest.raises(KeyboardInterrupt) as caught:
        stop(signal.SIGTERM, None)
    assert caught.value.args == (signal.SIGTERM,)
    now[0] += 0.5
    stop(signal.SIGTERM, None)


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from volproc.cli import main\n"
        "main.run = lambda words: signal.getsignal(signal.SIGINT) is not signal.SIG_IGN\n"
        "main.main([])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    assert done.returncode == 0


def test_a_signal_within_a_collection_of_garbage_is_not_lost() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST_SIGNAL], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert ended.returncode == 128 + signal.SIGTERM
    assert ended.stderr.strip() == "Stopping. The same signal again stops at once."
