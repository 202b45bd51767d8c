"""Tables of finished blocks: read back as they were, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volproc.core.errors import DtypeError
from volproc.core.executor import SerialExecutor
from volproc.graph.components import BlockReport, label_chunk
from volproc.graph.run import run_stage
from volproc.graph.sidecars import Sidecars
from volproc.reduce.faces import BlockFaces
from volproc.reduce.tables import ObjectTable

INDICES = list(product(range(2), range(3)))


@dataclass(frozen=True)
class Table:
    name: str
    rows: Any


@pytest.fixture
def sidecars(tmp_path: Path) -> Sidecars:
    return Sidecars(str(tmp_path / "work"), {"s": "a" * 64}, (Table,))


def same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif hasattr(expected, "__dataclass_fields__"):
        for name in expected.__dataclass_fields__:
            same(getattr(found, name), getattr(expected, name))
    else:
        assert found == expected


@pytest.mark.parametrize(
    "result",
    [
        3,
        (1, 2.5, "x", None, True),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        [np.zeros((0, 3)), {"a": (1,), (0, 1): np.float32([1])}],
        Table("t", (Table("inner", np.array([[1]])),)),
    ],
)
def test_results_come_back_as_they_were(sidecars: Sidecars, result: Any) -> None:
    sidecars.keep("s", (1, 2), result)
    same(sidecars.result("s", (1, 2)), result)
    assert sidecars.done("s") == {(1, 2)}


def test_the_report_of_a_labelled_block_comes_back(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((5, 7, 11)) < 0.4
    report = label_chunk(mask, (0, 1, 0), (0, 7, 0), (5, 14, 11), 1, None)
    kept = Sidecars(str(tmp_path), {"s": "b"}, (BlockReport, BlockFaces, ObjectTable))
    kept.keep("s", (0, 1, 0), report)
    same(kept.result("s", (0, 1, 0)), report)


def test_another_mark_counts_for_nothing(sidecars: Sidecars) -> None:
    sidecars.keep("s", (1, 2), 3)
    other = Sidecars(sidecars.folder, {"s": "b" * 64})
    assert other.done("s") == set()
    assert other.result("s", (1, 2)) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_table_counts_for_nothing(sidecars: Sidecars, damage: str) -> None:
    sidecars.keep("s", (1, 2), Table("t", np.arange(100)))
    (path,) = Path(sidecars.folder).rglob("*.npz")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-40], "flip": data, "empty": b""}[damage])
    assert sidecars.result("s", (1, 2)) is None
    assert sidecars.done("s") == set()


def test_only_classes_that_were_named_are_made(sidecars: Sidecars) -> None:
    sidecars.keep("s", (1, 2), Table("t", 1))
    assert Sidecars(sidecars.folder, sidecars.marks).result("s", (1, 2)) is None


def test_what_could_run_is_refused(sidecars: Sidecars) -> None:
    with pytest.raises(DtypeError, match="type function cannot be kept"):
        sidecars.keep("s", (0, 0), lambda: 1)
    with pytest.raises(DtypeError, match="cannot be kept"):
        sidecars.keep("s", (0, 0), np.array([object()]))


def test_a_stage_that_broke_off_goes_on_from_its_tables(sidecars: Sidecars) -> None:
    ran: list[tuple[int, ...]] = []
    fails = [True]

    def work(index: tuple[int, ...]) -> int:
        if fails[0] and len(ran) == 4:
            raise ValueError(index)
        ran.append(index)
        return sum(index)

    with pytest.raises(ValueError):
        run_stage("s", INDICES, work, executor=SerialExecutor(), ledger=sidecars)
    fails[0] = False
    assert {i: sidecars.result("s", i) for i in sidecars.done("s")} == {i: sum(i) for i in ran}
    run_stage("s", INDICES, work, executor=SerialExecutor(), ledger=sidecars)
    assert ran == INDICES
    sidecars.remove()
    assert not Path(sidecars.folder).exists()
