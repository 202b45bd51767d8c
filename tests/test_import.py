"""The front door: light to open, and every public name behind it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import volproc

HEAVY = ("torch", "monai", "distributed", "dask", "zarr", "numpy", "pandas", "copick", "matplotlib")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "code", ["import volproc", "import volproc; dir(volproc), volproc.__version__, volproc.__all__"]
)
def test_the_import_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_after(code)
    assert "volproc" in loaded
    assert not loaded & set(HEAVY)


def test_opening_loads_no_network() -> None:
    loaded = loaded_after("import volproc; volproc.open, volproc.Volume")
    assert "numpy" in loaded
    assert not loaded & {"torch", "monai", "distributed", "dask", "pandas"}


def test_every_public_name_is_there() -> None:
    for name in volproc.__all__:
        assert getattr(volproc, name) is not None
        assert name in dir(volproc)


def test_public_names_are_callables_or_classes_with_docstrings() -> None:
    for name in volproc.__all__:
        value = getattr(volproc, name)
        assert callable(value), name
        assert value.__doc__, name


LOAD_ALL = """
import importlib, pkgutil
for found in pkgutil.iter_modules(volproc.__path__, "volproc."):
    importlib.import_module(found.name)
"""

NAMES = """
assert all(callable(getattr(volproc, name)) for name in volproc.__all__)
"""


def test_public_names_win_over_rooms_that_were_loaded_before_and_after() -> None:
    code = "import volproc" + LOAD_ALL + NAMES + LOAD_ALL + NAMES
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'volproc' has no attribute 'segmnt'"):
        volproc.segmnt  # noqa: B018
