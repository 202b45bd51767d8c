"""Small text files that are either whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from volproc.io.create import partial_path, remove


def write_text(path: Path, text: str) -> None:
    """Write one file, replacing what stood there only once the new one is whole."""
    write_texts({path: text})


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write several files: all under other names first, so that none is replaced if one fails."""
    try:
        for path, text in texts.items():
            partial_path(path).write_text(text, encoding="utf-8")
        for path in texts:
            partial_path(path).replace(path)
    finally:
        for path in texts:
            remove(partial_path(path))
