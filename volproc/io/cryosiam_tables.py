"""Tables of centres as CryoSiam writes them, one table of all, and particles for RELION 5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from volproc.core.types import Shape
from volproc.io.star import EXTRA_COLUMNS, SCORE
from volproc.io.xyz import zyx_to_xyz_centered_angstrom

COLUMNS = {
    "tomo": str,
    "class_name": str,
    "z": np.float64,
    "y": np.float64,
    "x": np.float64,
    "score": np.float64,
    "num_voxels": np.int64,
    "class_value": np.int64,
    "label": np.int64,
    "max_score": np.float64,
    "touches_edge": bool,
}
"""Columns of a table of centres and their types, in voxels; further ones may follow."""

STAR_COLUMNS = (
    "rlnLabel",
    "rlnArea",
    "rlnCoordinateZ",
    "rlnCoordinateY",
    "rlnCoordinateX",
    "rlnMicrographName",
)
"""Columns of CryoSiam's STAR tables, in the order of those of its CSV tables."""


def empty_centres() -> pd.DataFrame:
    """Return a table of centres without rows.

    >>> len(empty_centres())
    0
    """
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})


def class_paths(folder: Path, class_value: int) -> tuple[Path, Path]:
    """CSV and STAR table of one class.

    >>> [path.name for path in class_paths(Path("out"), 2)]
    ['labels_2.csv', 'labels_2_particles.star']
    """
    stem = f"labels_{class_value}"
    return folder / f"{stem}.csv", folder / f"{stem}_particles.star"


def class_texts(
    centres: pd.DataFrame, folder: Path, num_classes: int, *, only_cryosiam: bool = False
) -> dict[Path, str]:
    """Both tables of each class: CryoSiam's columns first; headers alone for empty classes.

    Parameters
    ----------
    centres : DataFrame
        With the columns of `COLUMNS`, in the order in which rows are written, and further ones.
    folder : Path
        Where they shall stand.
    num_classes : int
        Values 1 to this one.
    only_cryosiam : bool
        Leave out all columns that CryoSiam does not write.
    """
    texts = {}
    for value in range(1, num_classes + 1):
        rows = centres[centres["class_value"] == value]
        table = pd.DataFrame(
            {
                "label": rows["label"].astype(np.int64),
                "area": rows["num_voxels"].astype(np.float64),
                "centroid-0": rows["z"],
                "centroid-1": rows["y"],
                "centroid-2": rows["x"],
                "tomo": rows["tomo"],
            }
        )
        particles = table.set_axis(list(STAR_COLUMNS), axis=1)
        if not only_cryosiam:
            rest = [c for c in rows.columns if c not in ("tomo", *"zyx", "num_voxels", "label")]
            table = table.join(rows[rest])
            particles = particles.join(_star_columns(rows))
        csv, star = class_paths(folder, value)
        texts[csv] = table.to_csv(index=False, lineterminator="\n")
        texts[star] = starfile.to_string(particles, float_format="%.6f")
    return texts


def _star_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """What STAR tables say beside CryoSiam's columns; pixel sizes where they are known."""
    found = {"rlnTomoName": rows["tomo"]}
    for name, column in EXTRA_COLUMNS.items():
        if column in rows:
            is_flag = rows[column].dtype == bool
            found[name] = rows[column].astype(np.int64) if is_flag else rows[column]
    if "voxel_size_angstrom" in rows and rows["voxel_size_angstrom"].notna().all():
        found["rlnTomoTiltSeriesPixelSize"] = rows["voxel_size_angstrom"]
    return pd.DataFrame(found)


def relion_text(
    centres: pd.DataFrame,
    volumes: Mapping[str, tuple[tuple[float, ...], Shape]],
) -> str:
    """Particles of all tomograms for RELION 5, in Å from the middle of each.

    Parameters
    ----------
    centres : DataFrame
        With the columns of `COLUMNS`.
    volumes : mapping
        Voxel size (z, y, x), Å, and shape of each tomogram; voxels are cubes.
    """
    pixels = sorted({size[-1] for size, _ in volumes.values()})
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": np.arange(1, len(pixels) + 1),
            "rlnOpticsGroupName": [f"opticsGroup{n}" for n in range(1, len(pixels) + 1)],
            "rlnTomoTiltSeriesPixelSize": pixels,
        }
    )
    xyz = np.zeros((len(centres), 3))
    groups = np.ones(len(centres), np.int64)
    zyx, names = centres[["z", "y", "x"]].to_numpy(np.float64), centres["tomo"].to_numpy(object)
    for name, (size, shape) in volumes.items():
        mine = names == name
        xyz[mine] = zyx_to_xyz_centered_angstrom(zyx[mine], size, shape)
        groups[mine] = pixels.index(size[-1]) + 1
    particles = pd.DataFrame(
        {
            "rlnTomoName": names,
            "rlnCenteredCoordinateXAngst": xyz[:, 0],
            "rlnCenteredCoordinateYAngst": xyz[:, 1],
            "rlnCenteredCoordinateZAngst": xyz[:, 2],
            "rlnClassNumber": centres["class_value"].to_numpy(np.int64),
            "rlnOpticsGroup": groups,
            "rlnAutopickFigureOfMerit": centres["score"].to_numpy(np.float64),
            "volprocNumVoxels": centres["num_voxels"].to_numpy(np.int64),
        }
    ).join(_star_columns(centres).drop(columns=["rlnTomoName", SCORE]))
    particles = particles.drop(columns="rlnTomoTiltSeriesPixelSize", errors="ignore")
    return starfile.to_string({"optics": optics, "particles": particles}, float_format="%.8f")
