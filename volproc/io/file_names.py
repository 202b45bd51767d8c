"""Names of files: their natural order, and the folder that a pattern begins in."""

from __future__ import annotations

import re
from pathlib import Path

from volproc.io.formats import GLOB_SIGNS


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts numbers inside of names by their value.

    >>> sorted(["z10.tif", "z9.tif", "a.tif", "z9b.tif"], key=natural_key)
    ['a.tif', 'z9.tif', 'z9b.tif', 'z10.tif']
    """
    parts = re.split(r"(\d+)", name)
    # "z007" and "z7" have the same value; the text decides between them.
    keys = [(1, int(p), "") if p.isdecimal() else (0, 0, p.lower()) for p in parts if p]
    return (*keys, (0, 0, name))


def split_pattern(path: Path) -> tuple[Path, str]:
    """Folder before the first sign of a pattern, and the rest.

    >>> split_pattern(Path("runs/*/z_*.tif"))[1]
    '*/z_*.tif'
    """
    first = next(i for i, part in enumerate(path.parts) if GLOB_SIGNS & set(part))
    return Path(*path.parts[:first]), "/".join(path.parts[first:])
