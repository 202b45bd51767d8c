"""NumPy ``.npy`` files, memory-mapped."""

from __future__ import annotations

from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ResumeError
from volproc.core.types import Shape
from volproc.io.create import partial_path
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.mapped import Layout, MappedSink, MappedSource, file_stamp, require_file, reserve
from volproc.io.selection import pick_one, refuse_dataset


class Npy(Format):
    """Reads and writes ``.npy``; it knows no voxel size."""

    name = "NumPy"
    suffixes = (".npy",)

    def read_header(self, address: str, selection: Selection) -> Header:
        """Read shape and type from the head of the file."""
        path = Path(address)
        require_file(path, "a .npy file")
        refuse_dataset(address, selection)
        for option, index in (("t", selection.t), ("c", selection.c), ("level", selection.level)):
            pick_one(address, "arrays", option, index, 1)
        shape, is_fortran, dtype, offset = _read_head(path)
        if dtype.kind not in "biuf" or len(shape) not in (2, 3) or 0 in shape:
            msg = (
                f"{path} holds shape {shape} of type {dtype}. A volume is a non-empty array "
                "(z, y, x) or (y, x) of real numbers; save one of those."
            )
            raise FormatError(msg)
        needed = offset + prod(shape) * dtype.itemsize
        if path.stat().st_size < needed:
            msg = (
                f"{path} is truncated: its head promises {needed} bytes, the file has "
                f"{path.stat().st_size}. Copy it again."
            )
            raise FormatError(msg)
        layout = None
        if is_fortran:
            layout = Layout(shape[::-1], (None,) * len(shape), tuple(range(len(shape)))[::-1])
        source = MappedSource(str(path), shape, dtype, offset, file_stamp(path), layout)
        return Header(str(path), path.stem, self.name, source, None)

    def create(self, target: Target) -> Sink:
        """Lay out the head and the full size under the partial name."""
        partial = partial_path(Path(target.address))
        if target.resume and partial.exists():
            shape, is_fortran, dtype, offset = _read_head(partial)
            if (shape, is_fortran, dtype) != (target.shape, False, target.dtype):
                msg = (
                    f"{partial} was begun with another shape or type: {shape} of {dtype}, not "
                    f"{target.shape} of {target.dtype}. Remove it, or start anew without resume= "
                    "(--resume)."
                )
                raise ResumeError(msg)
        else:
            mapped = np.lib.format.open_memmap(
                partial, mode="w+", dtype=target.dtype, shape=target.shape
            )
            offset = mapped.offset
            mapped.flush()
            reserve(partial)
        return MappedSink(target.address, target.shape, target.dtype, offset)


def _read_head(path: Path) -> tuple[Shape, bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, type, and first byte of the voxels."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, is_fortran, dtype = read(file)
            return tuple(shape), bool(is_fortran), dtype, file.tell()
    # NumPy reads the head as Python's literals, with the errors of its parser.
    except (ValueError, SyntaxError, TokenError, TypeError, RecursionError) as error:
        msg = f"{path} is no .npy file ({error}). Save it again with numpy.save."
        raise FormatError(msg) from error
