"""A small network, a small volume and what a folder holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from volproc.cluster.scheduler import DaskExecutor
from volproc.cluster.start import connect
from volproc.core.model import ModelSpec
from volproc.graph.predict import Output, Settings, predict
from volproc.io.open import open_
from volproc.models.loading import save_model
from volproc.models.networks import build
from volproc.workflows.segment import SegmentReport, SegmentTask

SHAPE = (9, 13, 11)

CHUNKS = (4, 7, 6)
"""Three times two times two blocks."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a network with two levels and three classes."""
    params = {"widths": [2, 4]}
    torch.manual_seed(5)
    network = build("unet3d", num_classes=3, **params)
    with torch.no_grad():  # all classes shall occur, with all sorts of probabilities
        network.head.weight *= 6
        network.head.bias.zero_()
    path = tmp_path_factory.mktemp("model") / "model.pt"
    spec = ModelSpec(
        architecture="unet3d",
        weights="",
        patch=(4, 8, 6),
        classes=("background", "ribosome", "membrane"),
        params=params,
        voxel_size=10.0,
        radii={"ribosome": 15.0},
    )
    save_model(path, spec, network.state_dict())
    return str(path)


@pytest.fixture(scope="session")
def voxels() -> np.ndarray:
    """Noise of distinct values, float32, (9, 13, 11)."""
    return np.random.default_rng(7).normal(40, 9, SHAPE).astype(np.float32)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray) -> str:
    """The same as a file, alone in its folder."""
    path = tmp_path_factory.mktemp("input") / "noise.npy"
    np.save(path, voxels)
    return str(path)


@pytest.fixture(scope="session")
def two_workers() -> Iterator[DaskExecutor]:
    """Two worker processes on this machine, for all tests: each takes seconds to load torch."""
    session = connect("local", num_workers=2)
    assert isinstance(session, DaskExecutor)
    yield session
    session.close()


@pytest.fixture
def processes(two_workers: DaskExecutor) -> Iterator[DaskExecutor]:
    """The same while Dask computes there too."""
    with two_workers.as_current():
        yield two_workers


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    """What is in the temporary folder now: names and contents."""

    def look() -> dict[str, bytes]:
        return {
            str(p.relative_to(tmp_path)): p.read_bytes() if p.is_file() else b""
            for p in sorted(tmp_path.rglob("*"))
        }

    return look


@pytest.fixture
def make_task(address: str, model: str, tmp_path: Path) -> Callable[..., SegmentTask]:
    """Make a task whose only block size is small; keywords replace what is to be otherwise."""
    usual = {
        "address": address,
        "output": str(tmp_path / "classes.zarr"),
        "model": model,
        "voxel_size": 10.0,
        "chunks": CHUNKS,
        "settings": Settings(overlap=0.5),
    }
    return lambda **changes: SegmentTask(**(usual | changes))


@pytest.fixture(scope="session")
def lazy() -> Callable[..., np.ndarray]:
    """Predict with the lazy function of the same name: another way to the same result."""

    def compute(
        address: str, model: str, output: Output, settings: Settings, **options: Any
    ) -> np.ndarray:
        volume = open_(address, voxel_size=10.0)
        result = predict(volume, model, output=output, settings=settings, **options)
        return result.data.compute(scheduler="sync")

    return compute


@pytest.fixture
def check_outputs(
    address: str, model: str, lazy: Callable[..., np.ndarray]
) -> Callable[[SegmentReport, Settings], None]:
    """Compare class map and float16 probabilities with those of the lazy function."""

    def check(report: SegmentReport, settings: Settings) -> None:
        expected = lazy(address, model, "classes", settings)
        found = open_(report.output, voxel_size=10.0)
        np.testing.assert_array_equal(found.data.compute(), expected)
        probabilities = lazy(address, model, "probabilities", settings)
        for number in range(3):
            one = open_(report.probabilities, c=number).data.compute()
            np.testing.assert_array_equal(one, probabilities[number])

    return check
