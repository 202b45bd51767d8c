"""Peaks and scores from stored probabilities: block by block, gone on with, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from volproc.cluster.start import connect
from volproc.core.errors import (
    ConfigError,
    DtypeError,
    InputChangedError,
    NonFiniteError,
    ShapeError,
)
from volproc.core.events import Event
from volproc.core.volume import Volume
from volproc.graph import localize as graph_localize
from volproc.graph import scaling
from volproc.io.omezarr_write import create_channels
from volproc.workflows.particle_peaks import PeakWork
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import localize
from volproc.workflows.picking import pick
from volproc.workflows.record import write_record
from volproc.workflows.verify import verify

SHAPE = (17, 21, 26)
NAMES = ("background", "ribosome", "ferritin")
RADII = {"ribosome": 40.0, "ferritin": 30.0}
VALUES = {"ribosome": 1, "ferritin": 2}


def maps() -> np.ndarray:
    rng = np.random.default_rng(1)
    found: np.ndarray = rng.random((3, *SHAPE), np.float32)
    return found


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Noise of three classes as float16, read in blocks of a storage chunk."""
    monkeypatch.setattr(scaling, "STATISTICS_VOXELS", 8**3)
    path = tmp_path / "a_probabilities.zarr"
    write(path, maps())
    return str(path)


def write(path: Path, voxels: np.ndarray, *, overwrite: bool = False) -> None:
    sink = create_channels(
        path, names=NAMES, shape=SHAPE, dtype=np.float16, voxel_size=(10.0,) * 3,
        chunks=(8, 8, 8), overwrite=overwrite,
    )  # fmt: skip
    sink.write(tuple(slice(0, n) for n in SHAPE), voxels.astype(np.float16))
    sink.finish()


def task_of(address: str, **changes: Any) -> LocalizeTask:
    given: dict[str, Any] = {
        "radii": RADII, "class_values": VALUES, "method": "peaks", "threshold": 0.7,
    }  # fmt: skip
    return LocalizeTask(address, **(given | changes))


def test_blocks_and_workers_give_the_peaks_of_the_lazy_function(address) -> None:
    points, _ = localize(task_of(address))
    volume = Volume(
        da.from_array(maps().astype(np.float16), chunks=(3, 9, 21, 7)), (10.0,) * 3, channels=NAMES
    )
    lazy = graph_localize.localize(
        volume, RADII, class_values=VALUES, method="peaks", threshold=0.7
    ).compute()
    assert len(points) > 20
    assert points.table.equals(lazy.table)
    with connect("threads") as runner:
        assert localize(task_of(address), executor=runner)[0].table.equals(points.table)


def test_radii_and_channels_come_from_the_record_of_the_segmentation(address, tmp_path) -> None:
    facts = {
        "probabilities": address, "radii_angstrom": RADII, "classes": {"background": 0, **VALUES},
    }  # fmt: skip
    write_record(str(tmp_path / "a.mrc"), "segment semantic", facts)
    found, _ = localize(LocalizeTask(address, method="peaks", threshold=0.7))
    assert found.table.equals(localize(task_of(address))[0].table)


def test_a_search_that_broke_off_goes_on_but_not_with_another_rule(
    address, tmp_path, monkeypatch
) -> None:
    done: list[tuple[int, ...]] = []
    original = PeakWork.__call__

    def call(work: PeakWork, index: tuple[int, ...]) -> Any:
        if len(done) == 5:
            raise OSError("disk full")
        done.append(tuple(index))
        return original(work, index)

    monkeypatch.setattr(PeakWork, "__call__", call)
    task = task_of(address, output=str(tmp_path / "picks.csv"))
    with pytest.raises(OSError, match="disk full"):
        localize(task)
    monkeypatch.setattr(PeakWork, "__call__", original)
    events: list[Event] = []
    other, _ = localize(task_of(address, output=str(tmp_path / "b.csv"), smooth_scale=0.5))
    points, _ = localize(task, observe=events.append)
    assert sum(event.kind == "skip" for event in events) == 5
    assert points.table.equals(localize(task_of(address))[0].table)
    assert len(other) < len(points)


def test_another_rule_does_not_take_the_tables_of_an_unfinished_search(
    address, tmp_path, monkeypatch
) -> None:
    output = str(tmp_path / "picks.csv")
    with monkeypatch.context() as patch:
        patch.setattr("volproc.workflows.particles.refuse_changed", _stop)
        with pytest.raises(KeyboardInterrupt):
            localize(task_of(address, output=output))
    points, _ = localize(task_of(address, output=output, threshold=0.8))
    assert points.table.equals(localize(task_of(address, threshold=0.8))[0].table)
    assert points.table["score"].min() >= 0.8


def _stop(*given: object) -> None:
    raise KeyboardInterrupt


def test_peaks_are_found_again_by_verify(address, tmp_path) -> None:
    pick(task_of(address, output=str(tmp_path / "picks.csv")))
    assert verify(tmp_path / "picks.csv").is_equal


def test_scores_of_objects_do_not_see_the_blocks(address, tmp_path) -> None:
    classes = np.zeros(SHAPE, np.uint8)
    classes[3:12, 4:13, 5:14] = 1
    classes[4:9, 4:9, 17:22] = 2
    np.save(tmp_path / "classes.npy", classes)
    stored = maps().astype(np.float16).astype(np.float64)
    means = [stored[value][classes == value].mean() for value in (1, 2)]
    for method in ("watershed", "centre-of-mass"):
        found, _ = localize(
            task_of(
                str(tmp_path / "classes.npy"), method=method, probabilities=address,
                voxel_size=10.0, radius_max_scale=4.0, radius_min_scale=0.1, filter_size=30,
            )
        )  # fmt: skip
        if method == "watershed":  # opening cuts the edges of a box
            assert 0.4 < found.table["score"].iloc[0] < 0.6
        else:
            np.testing.assert_allclose(found.table["score"], means, atol=1e-5)


def test_probabilities_that_change_meanwhile_are_an_error(address, tmp_path) -> None:
    np.save(
        tmp_path / "classes.npy", np.pad(np.ones((6, 6, 6), np.uint8), ((5, 6), (7, 8), (9, 11)))
    )

    def change(event: Event) -> None:
        if event.kind == "done" and event.stage == "localize":
            write(Path(address), maps() / 2, overwrite=True)

    task = task_of(
        str(tmp_path / "classes.npy"), method="watershed", probabilities=address, voxel_size=10.0
    )
    with pytest.raises(InputChangedError, match=r"probabilities of .* changed"):
        localize(task, observe=change)


def test_maps_that_do_not_fit_are_named(address, tmp_path) -> None:
    np.save(tmp_path / "labels.npy", np.ones(SHAPE, np.int16))
    np.save(tmp_path / "small.npy", np.ones((5, 6, 7), np.uint8))
    np.save(tmp_path / "nan.npy", np.full(SHAPE, np.nan, np.float32))
    one = {"radii": {"ribosome": 40.0}, "voxel_size": 10.0}
    for name, error, text in (
        ("labels.npy", DtypeError, "holds int16 voxels. Probabilities are float"),
        ("nan.npy", NonFiniteError, "probabilities of ribosome have .* NaN"),
    ):
        with pytest.raises(error, match=text):
            localize(task_of(str(tmp_path / name), **one))
    with pytest.raises(ShapeError, match="Give the probabilities that belong to the class map"):
        localize(
            task_of(str(tmp_path / "small.npy"), method="watershed", probabilities=address, **one)
        )
    with pytest.raises(ConfigError, match="map of one class, and ribosome, ferritin are looked"):
        localize(task_of(str(tmp_path / "nan.npy"), voxel_size=10.0))
    with pytest.raises(ConfigError, match=r'no channel for "virus" .value 9'):
        localize(task_of(address, radii={"virus": 3.0}, class_values={"virus": 9}))
