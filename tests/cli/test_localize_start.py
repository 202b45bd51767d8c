"""What ``volproc localize`` imports: of a small map it is most of the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import volproc
from volproc.training.labelled import ArraySource

CODE = """
import sys
from volproc.cli.main import run
status = run(["localize", "map.mrc", "--radius", "a=30", "--class", "a=1", "--quiet"])
print("modules", status, *sys.modules)
"""

LEFT_OUT = {
    *("torch", "monai", "matplotlib", "pydantic", "distributed", "dask.array", "tifffile", "PIL"),
    *("volproc.config.cluster", "volproc.workflows.particle_peaks"),
}


def test_a_small_map_is_localized_without_networks_plots_or_lazy_arrays(tmp_path: Path) -> None:
    z, y, x = np.indices((12, 14, 16))
    ball = ((z - 6) ** 2 + (y - 7) ** 2 + (x - 8) ** 2 <= 9).astype(np.int8)
    volproc.save(volproc.from_source(ArraySource(ball), voxel_size=10.0), tmp_path / "map.mrc")
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()[-1].split()
    assert words[:2] == ["modules", "0"], done.stderr
    assert (tmp_path / "map_picks.csv").read_text().count("\n") == 2
    assert not LEFT_OUT & set(words[2:])
