"""Single images of common formats: PNG, JPEG, BMP and what else Pillow reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from volproc.core.errors import FormatError, VolprocError
from volproc.core.types import Region, Shape
from volproc.io.formats import Header, Selection
from volproc.io.mapped import file_stamp
from volproc.io.selection import pick_one

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".jp2", ".webp")
"""Endings of single images that no other format reads."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A single image of a common format; it is decoded as a whole."""

    path: str
    shape: Shape
    dtype: np.dtype[Any]
    channel: int | None
    """Which channel is taken; None where there is one."""

    stamp: tuple[int, int]

    @property
    def chunks(self) -> Shape:
        """The whole image."""
        return self.shape

    def read(self, region: Region) -> npt.NDArray[Any]:
        """Voxels of a region."""
        return np.array(_decode(self.path, self.channel, self.stamp)[region], order="C")

    def identity(self) -> str:
        """Path, size, time of change and channel."""
        return f"{Path(self.path).absolute()}:{self.stamp}:{self.channel}"


def read_image(path: Path, selection: Selection) -> Header:
    """Head of a single image that Pillow reads.

    Raises
    ------
    AddressError
        If it has several channels and none was selected.
    FormatError
        If it is no image.
    """
    for option, index in (("t", selection.t), ("level", selection.level)):
        pick_one(str(path), "images", option, index, 1)
    with open_image(path) as image:
        width, height = image.size
        mode, bands, kind = image.mode, image.getbands(), image.format or "image"
    # Of a palette, and of bits, the numbers are taken: label images often have one.
    count = 1 if mode in ("P", "1") else len(bands)
    what = f"channels ({', '.join(bands)})" if count > 1 else "channels"
    channel = pick_one(str(path), what, "c", selection.c, count)
    dtype = np.asarray(Image.new(mode, (1, 1))).dtype.newbyteorder("=")
    source = ImageSource(
        str(path), (height, width), dtype, channel if count > 1 else None, file_stamp(path)
    )
    return Header(str(path), path.stem, kind, source, None, details={"mode": mode})


@contextmanager
def open_image(path: Path | str) -> Iterator[Image.Image]:
    """Open an image; what goes wrong inside becomes a `FormatError`.

    Raises
    ------
    FormatError
        If it is no image, truncated, or larger than Pillow is ready to decode.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of what it refuses; a micrograph may well be of that size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            yield image
    except Image.DecompressionBombError as error:
        msg = f"{path} is too large for an image of its kind ({error}). Save it as TIFF."
        raise FormatError(msg) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, VolprocError):
            raise
        msg = f"{path} is no image, or truncated or damaged ({error}). Copy it again."
        raise FormatError(msg) from error


@lru_cache(maxsize=4)
def _decode(path: str, channel: int | None, stamp: tuple[int, int]) -> npt.NDArray[Any]:
    """Decode an image; the last few are kept for the next region."""
    with open_image(path) as image:
        voxels = np.asarray(image if channel is None else image.getchannel(channel))
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
