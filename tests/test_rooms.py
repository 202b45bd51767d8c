"""Rooms whose own names are public."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _fresh(code: str) -> str:
    command = [sys.executable, "-c", f"import sys, volproc; {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "name", ["cluster.connect", "metrics.score_points", "metrics.dice", "phantoms.Phantom"]
)
def test_public_rooms_need_no_import_of_their_own(name: str) -> None:
    assert _fresh(f"print(callable(volproc.{name}))").strip() == "True"
