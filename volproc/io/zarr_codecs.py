"""Codecs of zarr chunks: those that are safe, and decoding that takes no more than it should.

numcodecs takes what a chunk says for true: a few bytes can claim, or unpack to, any size. And one
of its codecs, ``pickle``, runs what is in the chunk.
"""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from functools import lru_cache
from typing import Any, Protocol

import numcodecs
import numpy as np
import numpy.typing as npt

from volproc.core.errors import nearest

SAFE = frozenset(
    (
        *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
        *("astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
        *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
    )
)
"""Codecs that only turn numbers into numbers."""

TYPE_KEYS = ("dtype", "astype", "encode_dtype", "decode_dtype")
"""Where codecs are told a type."""

ROOM = 16
"""How many times the bytes of the voxels may be there between two codecs; a change of type makes at
most eight times more, and checksums a little."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class _Stream(Protocol):
    """A decoder that can be stopped."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def check_codec(config: dict[str, Any]) -> None:
    """Refuse a codec that could do more than to turn numbers into numbers.

    Raises
    ------
    ValueError
        Saying why.
    """
    name = config.get("id")
    if name not in SAFE:
        msg = f'the codec "{name}" is not among those that are read, {nearest(str(name), SAFE)}'
        raise ValueError(msg)
    for key in TYPE_KEYS:
        if key in config and np.dtype(str(config[key])).kind not in "biuf":
            msg = f"the codec {name} makes {config[key]!r}, which is no number"
            raise ValueError(msg)


@lru_cache(maxsize=64)
def find_codec(config: str) -> Any:
    """Codec of a configuration as JSON."""
    return numcodecs.get_codec(json.loads(config))


def decode_chunk(data: bytes, codecs: tuple[str, ...], expected: int) -> npt.NDArray[np.uint8]:
    """Undo the codecs of a chunk.

    Parameters
    ----------
    data : bytes
        What is stored.
    codecs : tuple of str
        Configurations as JSON, in the order of decoding.
    expected : int
        Bytes of voxels that are due.

    Returns
    -------
    flat : ndarray of uint8
        Not checked for its size.

    Raises
    ------
    ValueError
        If the data are truncated, or claim or hold more than could be voxels. Codecs raise errors
        of their own besides.
    """
    decoded: Any = data
    limit = ROOM * expected + 4096
    for config in codecs:
        codec = find_codec(config)
        if codec.codec_id == "blosc":
            # Blosc reads past the end of truncated data without complaint, so its own count of
            # bytes is compared first; with it right, one can decode into the final memory.
            inner, outer = (int.from_bytes(decoded[a : a + 4], "little") for a in (4, 12))
            if len(decoded) < 16 or outer != len(decoded):
                msg = f"{len(decoded)} bytes are there, {outer} were written"
                raise ValueError(msg)
            _check_claimed(inner, limit)
            if len(codecs) == 1 and inner == expected:
                flat = np.empty(expected, np.uint8)
                codec.decode(decoded, out=flat)
                return flat
            decoded = codec.decode(decoded)
        else:
            decoded = _decode(codec, decoded, limit)
    return np.array(numcodecs.compat.ensure_contiguous_ndarray(decoded)).view(np.uint8)


def _decode(codec: Any, data: Any, limit: int) -> Any:
    """Undo one codec; what could grow without end is stopped, what claims its size is asked."""
    name = codec.codec_id
    if name in ("zlib", "gzip"):
        return _unpack_members(data, limit)
    if name == "bz2":
        return _unpack(bz2.BZ2Decompressor(), data, limit)
    if name == "lzma":
        is_raw = codec.format == lzma.FORMAT_RAW
        stream = lzma.LZMADecompressor(codec.format, filters=codec.filters if is_raw else None)
        return _unpack(stream, data, limit)
    if name == "lz4":
        _check_claimed(int.from_bytes(bytes(data[:4]), "little"), limit)
    if name == "zstd":
        claimed = zstd_size(bytes(data[:18]))
        # Each block of three bytes or more makes at most 128 KiB.
        _check_claimed(len(data) // 3 * 2**17 if claimed is None else claimed, limit)
    return codec.decode(data)


def _unpack_members(data: Any, limit: int) -> bytes:
    """Undo zlib or gzip, of which several may follow each other."""
    rest, parts, room = bytes(data), [], limit
    while rest:
        stream = zlib.decompressobj(wbits=47)  # finds out which of both
        parts.append(_unpack(stream, rest, room))
        room -= len(parts[-1])
        rest = stream.unused_data
        if rest and not rest.startswith(b"\x1f\x8b"):
            break
    return b"".join(parts)


def _unpack(stream: _Stream, data: Any, limit: int) -> bytes:
    """Undo a stream, up to a limit."""
    found = stream.decompress(bytes(data), limit + 1)
    _check_claimed(len(found), limit)
    if not stream.eof:
        msg = "the compressed stream ends early"
        raise ValueError(msg)
    return found


def _check_claimed(num_bytes: int, limit: int) -> None:
    if num_bytes > limit:
        msg = f"it would unpack to {num_bytes:,} bytes or more, {limit:,} could be voxels"
        raise ValueError(msg)


def zstd_size(head: bytes) -> int | None:
    """Bytes that a Zstandard frame says it unpacks to; None where it does not say.

    >>> zstd_size(numcodecs.Zstd().encode(bytes(1000))[:18])
    1000

    References
    ----------
    RFC 8878, section 3.1.1.1.
    """
    if head[:4] != ZSTD_MAGIC or len(head) < 5:
        return None
    flags = head[4]
    is_single = bool(flags & 0x20)
    num_bytes = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    if not num_bytes:
        return None
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(head[start : start + num_bytes], "little")
    return size + 256 if num_bytes == 2 else size
