"""TIFF files in the making."""

from __future__ import annotations

from math import isclose, prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from volproc.core.errors import FormatError, ResumeError
from volproc.io.create import partial_path, remove
from volproc.io.formats import Target
from volproc.io.mapped import MappedSink, reserve
from volproc.io.tiff_metadata import find_voxel_size

IMAGEJ_TYPES = frozenset({"u1", "u2", "f4"})
"""Types that ImageJ reads."""

OME_TYPES = IMAGEJ_TYPES | {"i1", "i2", "i4", "u4", "f8"}
"""Types that OME-TIFF has."""

NARROWED = {"b1": "u1", "f2": "f4", "i8": "i4", "u8": "u4"}
"""Types that neither has, and what takes their values; integers that do not fit are refused."""

LARGEST_CLASSIC = 2**32 - 2**25
"""Bytes of voxels from which on offsets of four bytes are not enough."""

ALWAYS_BIG = (".btf", ".tf8")
"""Endings that mean BigTIFF."""

CALIBRATION = 1e-4
"""Relative difference up to which voxel sizes are the same: TIFF keeps them as fractions."""


def begin_tiff(target: Target) -> MappedSink:
    """Lay out a TIFF file under its partial name, or go on with one.

    Raises
    ------
    FormatError
        If TIFF cannot hold the type.
    ResumeError
        If the unfinished file is of another shape, type or voxel size.

    Notes
    -----
    All voxels lie in one piece behind the first directory, so that regions can be written in any
    order and by several processes. Types that ImageJ knows, up to 4 GiB, become ImageJ stacks,
    which Fiji, napari and most others read with their calibration; the rest, and ``.ome.tif``,
    become OME-TIFF, above 4 GiB as BigTIFF. TIFF has no place for an origin.
    """
    dtype = stored_dtype(target)
    partial = partial_path(Path(target.address))
    if target.resume and partial.exists():
        return MappedSink(
            target.address, target.shape, dtype, _known_offset(partial, target, dtype)
        )
    remove(partial)
    offset = _lay_out(partial, target, dtype)
    reserve(partial)
    return MappedSink(target.address, target.shape, dtype, offset)


def stored_dtype(target: Target) -> np.dtype[Any]:
    """Type on disk for the type of a target.

    Raises
    ------
    FormatError
        If there is none.
    """
    code = f"{target.dtype.kind}{target.dtype.itemsize}"
    code = NARROWED.get(code, code)
    if code not in OME_TYPES:
        msg = (
            f"{target.address}: TIFF cannot hold {target.dtype}. It takes integers of 8 to 32 "
            "bits, float32 and float64; convert the voxels first."
        )
        raise FormatError(msg)
    return np.dtype(f"<{code}")


def _lay_out(partial: Path, target: Target, dtype: np.dtype[Any]) -> int:
    """Write directories and a hole of the full size; return where the voxels begin."""
    name = target.address.lower()
    size = prod(target.shape) * dtype.itemsize
    is_big = size > LARGEST_CLASSIC or name.endswith(ALWAYS_BIG)
    is_ome = name.endswith((".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf8"))
    letters = "ZYX"[-len(target.shape) :]
    options: dict[str, Any] = {
        "dtype": dtype,
        "byteorder": "<",
        "photometric": "minisblack",
        "returnoffset": True,
        "software": "volproc",
    }
    micrometers = dict(zip(letters, (v / 1e4 for v in target.voxel_size), strict=True))
    if f"{dtype.kind}{dtype.itemsize}" in IMAGEJ_TYPES and not is_big and not is_ome:
        # With all six axes given, tifffile cannot take an x of length 1 for samples.
        sizes = dict(zip(letters, target.shape, strict=True))
        shape = tuple(sizes.get(letter, 1) for letter in "TZCYXS")
        metadata: dict[str, Any] = {"axes": "TZCYXS", "unit": "micron"}
        if "Z" in micrometers:
            metadata["spacing"] = micrometers["Z"]
        resolution = (1 / micrometers["X"], 1 / micrometers["Y"])
        written = tifffile.imwrite(
            partial, shape=shape, imagej=True, metadata=metadata, resolution=resolution, **options
        )
    else:
        metadata = {"axes": letters}
        for letter, value in micrometers.items():
            metadata[f"PhysicalSize{letter}"] = value
            metadata[f"PhysicalSize{letter}Unit"] = "µm"
        written = tifffile.imwrite(
            partial,
            shape=target.shape,
            ome=True,
            bigtiff=is_big or f"{dtype.kind}{dtype.itemsize}" not in IMAGEJ_TYPES,
            metadata=metadata,
            **_resolution(micrometers["X"], micrometers["Y"]),
            **options,
        )
    return int(written[0])


def _resolution(*micrometers: float) -> dict[str, Any]:
    """Resolution tags, for readers that know no OME; their fractions end at 2³²."""
    per_centimeter = tuple(1e4 / size for size in micrometers)
    if max(per_centimeter) >= 2**32:
        return {}
    return {"resolution": per_centimeter, "resolutionunit": "CENTIMETER"}


def _known_offset(partial: Path, target: Target, dtype: np.dtype[Any]) -> int:
    """Where the voxels of an unfinished file begin, if it is the same that is wanted."""
    try:
        with tifffile.TiffFile(partial) as tif:
            series = tif.series[0]
            known, _ = find_voxel_size(tif, 0, "zyx"[-len(target.shape) :])
            offset = series.dataoffset
            sizes = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
            letters = "ZYX"[-len(target.shape) :]
            found = tuple(sizes.get(letter, 0) for letter in letters)
            is_same = found == target.shape and np.dtype(series.dtype) == dtype
    except (tifffile.TiffFileError, IndexError) as error:
        msg = f"{partial} is damaged ({error}). Remove it, or start anew without resume=."
        raise ResumeError(msg) from error
    if (
        not is_same
        or offset is None
        or known is None
        or not all(
            isclose(a, b, rel_tol=CALIBRATION)
            for a, b in zip(known, target.voxel_size, strict=True)
        )
    ):
        msg = (
            f"{partial} was begun with another shape, type or voxel size. Remove it, or start anew "
            "without resume= (--resume)."
        )
        raise ResumeError(msg)
    return int(offset)
