"""Benchmarks run in this process: what they import is loaded and compiled once."""

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from volproc.cluster.local import THREAD_VARIABLES
from volproc.models.loading import LoadedModel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[dict[str, Any]]]:
    """Run a benchmark by its name and options: what it prints, one record a case."""
    monkeypatch.syspath_prepend(str(ROOT))
    # Some set these for good: a process is theirs elsewhere.
    monkeypatch.setattr(LoadedModel, "__call__", LoadedModel.__call__)
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, os.environ.get(name, "1"))

    def run(name: str, *options: str) -> list[dict[str, Any]]:
        assert import_module(f"benchmarks.{name}").main(options) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run
