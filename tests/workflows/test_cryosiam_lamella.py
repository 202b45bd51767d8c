"""``postprocessing: True`` of CryoSiam's yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from volproc.core.errors import ConfigError, VoxelSizeError
from volproc.training.labelled import ArraySource
from volproc.workflows.cryosiam_lamella import lamella_labels, lamella_rule
from volproc.workflows.cryosiam_prediction import predict_tomograms
from volproc.workflows.cryosiam_task import PredictionTask

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"
SHAPE = (40, 12, 14)


def rule_of(*, is_compatible: bool, **changes: Any) -> Any:
    wanted = {
        "threshold": 0.4, "num_classes": 1, "voxel_size": (10.0,) * 3, "has_3d": False,
        "name": "TS_1",
    }  # fmt: skip
    return lamella_rule(SHAPE, is_compatible=is_compatible, **{**wanted, **changes})


def labels_and_probabilities() -> tuple[np.ndarray, np.ndarray]:
    likely = np.zeros(SHAPE, np.float32)
    likely[8:32], likely[1, 2, 3] = 0.95, 0.9
    return (likely > 0.4).astype(np.uint8) * 3, likely


def test_by_default_specks_go_and_cryosiams_way_keeps_them(tmp_path: Path) -> None:
    labels, likely = labels_and_probabilities()
    whole = tuple(slice(0, n) for n in SHAPE)
    compatible = lamella_labels(
        ArraySource(labels),
        ArraySource(likely),
        folder=str(tmp_path / "a"),
        rule=rule_of(is_compatible=True, voxel_size=None),
    ).read(whole)
    is_hull = (compatible == 1).any(axis=(1, 2))
    assert is_hull.any()
    np.testing.assert_array_equal(compatible[~is_hull], labels[~is_hull])
    assert compatible[1, 2, 3] == 3
    clean = lamella_labels(
        ArraySource(labels // 3),
        None,
        folder=str(tmp_path / "b"),
        rule=rule_of(is_compatible=False),
    ).read(whole)
    due = np.zeros(SHAPE, np.uint8)
    due[8:32] = 1
    np.testing.assert_array_equal(clean, due)


def test_what_cannot_be_cleaned_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"this one has 4: which class is the lamella\?"):
        rule_of(is_compatible=False, num_classes=4)
    with pytest.raises(VoxelSizeError, match=r"TS_1 says no voxel size"):
        rule_of(is_compatible=False, voxel_size=None)
    assert rule_of(is_compatible=True, num_classes=4, has_3d=True).hull == "volume"


@pytest.mark.skipif(not SAMPLES.exists(), reason="shared data are not here")
def test_the_mask_of_the_sample_is_cryosiams(tmp_path: Path) -> None:
    task = PredictionTask(
        str(SAMPLES / "denoised"), ".mrc", str(tmp_path), str(SAMPLES / "tiny_lamella.ckpt"), 0.9,
        (0, 1, 0, 1), is_compatible=True, has_postprocessing=True, device="cpu",
    )  # fmt: skip
    report = predict_tomograms(task)
    assert [entry.error for entry in report.entries] == [""]
    with (
        h5py.File(tmp_path / "TS_02_preds.h5") as found,
        h5py.File(SAMPLES / "lamella" / "TS_02_preds.h5") as due,
    ):
        assert found["labels"].dtype == due["labels"].dtype
        np.testing.assert_array_equal(found["labels"][:], due["labels"][:])
