"""The rooms of volproc and the doors between them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "volproc"

DOORS: dict[str, set[str]] = {
    "core": set(),
    "plan": {"core"},
    "io": {"core"},
    "models": {"core", "plan"},
    "reduce": {"core", "plan"},
    "graph": {"core", "plan", "io", "models", "reduce"},
    "cluster": {"core"},
    "metrics": {"core"},
    "phantoms": {"core", "plan"},
    "report": {"core", "metrics"},
    "config": {"core"},
    # The demo makes its own tomograms and ends in a page: hence phantoms and report.
    "workflows": {
        "core", "plan", "io", "models", "reduce", "graph", "metrics", "phantoms", "report"
    },
    # Validation finds particles with the functions that localization is made of: hence reduce.
    "training": {"core", "plan", "io", "models", "reduce", "metrics", "phantoms"},
    "cli": {
        "core", "plan", "io", "models", "reduce", "graph", "cluster", "metrics", "phantoms",
        "report", "config", "workflows", "training"
    },
    "testing": {"core", "plan"},
}  # fmt: skip
"""Room → rooms it may import. An import written inside a function counts too."""

TABLES = {"core", "io", "reduce", "metrics", "report", "workflows", "training", "cli"}
"""Points and measurements cross the doors as data frames, which `core.points` names."""

GUESTS: dict[str, set[str]] = {
    "PIL": {"io"},
    "cc3d": {"reduce"},
    "cellpose": {"models"},
    "click": {"cli"},
    "copick": {"io"},
    # core and io name the type of a volume's data and make it; cluster sets its configuration.
    "dask": {"core", "io", "graph", "cluster"},
    "dask_cuda": {"cluster"},
    "dask_jobqueue": {"cluster"},
    "distributed": {"cluster"},
    "edt": {"reduce"},
    "fastremap": {"reduce"},
    "fsspec": {"io"},
    "h5py": {"io"},
    "hypothesis": {"testing"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "monai": {"models", "training"},
    "mrcfile": {"io"},
    "numba": {"models", "reduce"},
    "numcodecs": {"io"},
    "numpy": set(DOORS) - {"config"},
    "pandas": TABLES,
    # The plan of a run is bounded by the memory that is free where it starts.
    "psutil": {"workflows"},
    "pyarrow": {"io"},
    "pydantic": {"config"},
    "pytest": {"testing"},
    "rich": {"cli"},
    "sam2": {"models"},
    "scipy": {"models", "reduce", "metrics", "phantoms"},
    "skimage": {"reduce"},
    "starfile": {"io"},
    "tifffile": {"io"},
    "torch": {"models", "training"},
    # Octopi keeps its logs and describes its models in YAML, and they are files like others.
    "yaml": {"config", "io", "models"},
    "zarr": {"io"},
}
"""Third-party package → the only rooms that may import it."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """All modules that a file imports, wherever in it, by statement or by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module == "volproc":  # from volproc import io
                yield from (f"volproc.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


FILES = sorted(p for p in PACKAGE.rglob("*.py"))
MODULES = [p for p in FILES if p.parent != PACKAGE]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_uses_only_its_doors_and_guests(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "volproc":
            there = rest.partition(".")[0]
            assert there in DOORS[here] | {here}, f"{here} may not import {name}"
        elif top not in sys.stdlib_module_names:
            assert top in GUESTS, f"no room is known for {top}"
            assert here in GUESTS[top], f"{here} may not import {top}"


def test_every_room_is_in_the_table() -> None:
    assert {room(p) for p in MODULES} <= set(DOORS)
    assert {d for doors in DOORS.values() for d in doors} <= set(DOORS)


def test_doors_lead_one_way() -> None:
    done: set[str] = set()
    while ready := {r for r, doors in DOORS.items() if doors <= done} - done:
        done |= ready
    assert done == set(DOORS), f"cycle among {set(DOORS) - done}"


def test_nobody_looks_back() -> None:
    assert {r for r, doors in DOORS.items() if "config" in doors} == {"cli"}
    assert {r for r, doors in DOORS.items() if "testing" in doors} == set()
    assert {r for r, doors in DOORS.items() if "cluster" in doors} == {"cli"}
    assert {r for r, doors in DOORS.items() if "training" in doors} == {"cli"}


def test_the_front_door_loads_no_room() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    unguarded = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name for n in unguarded if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module or "" for n in unguarded if isinstance(n, ast.ImportFrom)}
    assert names <= {"__future__", "importlib", "typing"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_named_for_what_is_in_them_and_are_not_long(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert len(path.read_text().splitlines()) < 400


def test_the_rules_find_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import os\n"
        "from volproc import cli\n"
        "def f():\n"
        "    import torch.nn\n"
        "    from importlib import import_module\n"
        "    import_module('dask_cuda')\n"
    )
    assert set(imports(path)) == {
        "os", "volproc", "volproc.cli", "torch.nn", "importlib", "dask_cuda"
    }  # fmt: skip
    path.write_text("from . import sibling\n")
    with pytest.raises(AssertionError, match="relative import"):
        list(imports(path))
