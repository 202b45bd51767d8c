"""What every benchmark here shares: cases, times, peak memory and one JSON line a case.

A benchmark measures its own function and its baselines in the same process, taking turns, so that
a busy machine slows all of them alike: the figure to read is the ratio. Run one from the root of
the project, ``python -m benchmarks.label_blocks``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil

Contender = Callable[[], Any]

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Case:
    """One thing to measure; benchmarks add their own fields."""

    name: str
    """Short, unique in its benchmark."""

    shape: tuple[int, ...]
    """Size of the volume, voxels."""

    @property
    def num_voxels(self) -> int:
        """Voxels of the volume."""
        return prod(self.shape)


def compare(
    case: Case, own: Contender, baselines: Mapping[str, Contender], *, repeats: int = 5
) -> dict[str, Any]:
    """Measure a function beside its baselines.

    Parameters
    ----------
    case : Case
        What is measured, for the record.
    own : callable
        The function under test, without arguments.
    baselines : mapping of name to callable
        What it is held against.
    repeats : int
        Timed calls of each, after one call to warm up and one for the memory.

    Returns
    -------
    record : dict
        ``case``, ``machine``, ``commit``, ``median_s``, ``spread_s`` (greatest less least),
        ``peak_bytes`` (above what was in use before), ``voxels_per_s``; ``baselines`` with the
        same of each; ``ratio``: time of the function over that of each baseline, below 1 is
        faster; ``ratio_peak`` likewise.
    """
    contenders = {"own": own, **baselines}
    peaks = {}
    for name, contender in contenders.items():
        contender()  # compiles, fills caches
        peaks[name] = peak_bytes(contender)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            gc.collect()
            start = perf_counter()
            contender()
            times[name].append(perf_counter() - start)
    figures = {
        name: {
            "median_s": round(median(taken), 6),
            "spread_s": round(max(taken) - min(taken), 6),
            "peak_bytes": peaks[name],
            "voxels_per_s": round(case.num_voxels / median(taken)),
        }
        for name, taken in times.items()
    }
    mine = figures.pop("own")
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        **mine,
        "baselines": figures,
        "ratio": {n: round(mine["median_s"] / f["median_s"], 3) for n, f in figures.items()},
        "ratio_peak": {
            n: round(mine["peak_bytes"] / max(1, f["peak_bytes"]), 3) for n, f in figures.items()
        },
    }


def run(
    description: str,
    measure: Callable[[Any, int], dict[str, Any]],
    cases: Sequence[Case],
    tiny: Sequence[Case],
    argv: Sequence[str] | None = None,
) -> int:
    """Measure the cases that the command line asks for, printing one JSON line each.

    Parameters
    ----------
    description : str
        For ``--help``.
    measure : callable
        Takes a case and a number of repeats, gives the record of `compare`.
    cases, tiny : sequence of Case
        What runs without and with ``--tiny``.
    argv : sequence of str, optional
        Arguments; those of the process if not given.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each contender")
    parser.add_argument("--only", metavar="WORD", default="", help="cases whose name has this")
    options = parser.parse_args(argv)
    chosen: Iterable[Case] = tiny if options.tiny else cases
    for case in chosen:
        if options.only in case.name:
            print(json.dumps(measure(case, options.repeats)), flush=True)
    return 0


def peak_bytes(function: Contender) -> int:
    """Greatest resident memory during one call, above that before it.

    Notes
    -----
    On Linux the kernel's high-water mark is reset before the call, which costs nothing and misses
    nothing. Elsewhere the mark cannot be reset: only a call that exceeds all before it shows.
    """
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        before = high_water_bytes()
    else:
        before = psutil.Process().memory_info().rss
    function()
    return max(0, high_water_bytes() - before)


def high_water_bytes() -> int:
    """Greatest resident memory of this process since the mark was last reset."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss))


def machine() -> str:
    """Processor, cores and system in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """Commit of the project, with ``+`` where files differ from it; empty outside git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
