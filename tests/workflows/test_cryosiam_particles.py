"""What volproc knows of CryoSiam's particles beyond CryoSiam: names, weights, picks, RELION."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import starfile

from volproc.core.errors import AddressError, ConfigError, MissingFileError
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.points import read_points
from volproc.workflows import cryosiam_centres
from volproc.workflows.cryosiam_centres import find_centres
from volproc.workflows.cryosiam_picks import project_names
from volproc.workflows.cryosiam_rule import CentresTask

SHAPE = (13, 16, 33)


def write_prediction(path: Path, *, has_maps: bool = True) -> np.ndarray:
    """Two touching balls of class 1, one of class 2 at a face; none of class 3."""
    grid = np.indices(SHAPE)
    classes = np.zeros(SHAPE, np.uint8)
    for (z, y, x), value in (((6, 7, 6), 1), ((6, 7, 15), 1), ((6, 7, 28), 2)):
        squared = (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - x) ** 2
        classes[squared <= 27] = value
    with h5py.File(path, "w") as file:
        file["labels"] = classes
        if has_maps:
            scores = np.stack([np.full(SHAPE, 0.1 * (c + 1), np.float32) for c in range(4)])
            scores[1, 6, 7, 6] = 0.9
            file["probs"] = scores
            # Only the upper half of a ball counts: what lies below has negative distances.
            file["distances"] = np.broadcast_to(grid[0] - 6.0, (4, *SHAPE)).astype(np.float32)
    return classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "predictions"
    place.mkdir()
    write_prediction(place / "a_preds.h5")
    return place


def table_of(folder: Path, **changes: Any) -> pd.DataFrame:
    report = find_centres(CentresTask(str(folder), (5, 5, 5), overwrite=True, **changes))
    assert not report.num_failed, report.entries
    return pd.read_csv(folder / "particles.csv")


def test_touching_particles_come_apart_and_distances_move_their_centres(folder: Path) -> None:
    together = table_of(folder)
    assert together["class_value"].tolist() == [1, 2]
    apart = table_of(folder, method="watershed", class_names={"ribosome": 1})
    assert apart["class_name"].tolist() == ["ribosome", "ribosome", "class-2"]
    np.testing.assert_allclose(apart["x"], [6, 15, 28], atol=0.3)
    assert apart["max_score"].round(6).tolist() == [0.9, 0.2, 0.3]
    up = table_of(folder, method="watershed", weight_by="distances")
    assert (up["z"] > 7).all()
    assert (up["z"] > apart["z"] + 1).all()
    np.testing.assert_allclose(up["x"], apart["x"], atol=0.2)
    by_scores = table_of(folder, weight_by="probs", method="centre-of-mass")
    assert by_scores["x"][0] < table_of(folder, method="centre-of-mass")["x"][0]
    one = table_of(folder, method="watershed", nms_distance=95.0, voxel_size=10.0)
    assert one["score"].round(3).tolist() == [0.201, 0.3]  # the ball with the better voxel


def test_tables_are_read_back_with_names_scores_and_voxel_size(folder: Path) -> None:
    found = table_of(folder, voxel_size=8.0, class_names={"ribosome": 1})
    csv, star = folder / "labels_1.csv", folder / "labels_1_particles.star"
    first = ["label", "area", "centroid-0", "centroid-1", "centroid-2", "tomo"]
    assert list(pd.read_csv(csv).columns[:6]) == first
    assert list(starfile.read(star).columns[:6]) == [
        "rlnLabel", "rlnArea", "rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX",
        "rlnMicrographName",
    ]  # fmt: skip
    for path in (csv, star):
        points = read_points(path)  # nobody has to say the voxel size
        np.testing.assert_allclose(points.voxel_size, 8.0)
        assert points.class_names == ("ribosome",)
        np.testing.assert_allclose(points.zyx, found.loc[[0], ["z", "y", "x"]], atol=1e-6)
        np.testing.assert_allclose(points.table["score"], found["score"][:1], atol=1e-6)
        assert points.table["num_voxels"].tolist() == found["num_voxels"][:1].tolist()
    for path in (folder / "labels_3.csv", folder / "labels_3_particles.star"):
        assert len(read_points(path, voxel_size=8.0)) == 0


def test_picks_go_into_the_run_of_each_tomogram(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prediction(folder / "b_preds.h5", has_maps=False)
    objects = [ProjectObject(name, label, 40.0) for label, name in enumerate("xyz", start=1)]
    config = create_project(tmp_path / "copick.json", objects=tuple(objects), runs=["a"])
    picks = f"{config}:*/:me/1"
    how: dict[str, Any] = {"picks": picks, "voxel_size": 10.0}
    task = CentresTask(str(folder), (5, 5, 5), class_names=project_names(picks, 3), **how)
    report = find_centres(task)
    assert [entry.status for entry in report.entries] == ["done", "failed"]  # there is no run b
    found = read_points(f"{config}:a/:me/1", voxel_size=10.0)
    assert found.class_names == ("x", "y")
    assert len(read_points(f"{config}:a/z:me/1", voxel_size=10.0)) == 0
    (folder / "b_preds.h5").unlink()
    # A run that is killed between picks and tables is gone on with.
    with monkeypatch.context() as patch:
        patch.setattr(cryosiam_centres, "write_texts", _stop)
        with pytest.raises(KeyboardInterrupt):
            find_centres(task)
    assert find_centres(task).entries[0].status == "done"
    again = CentresTask(str(folder), (5, 5, 5), class_names=task.class_names, resume=True, **how)
    assert find_centres(again).was_finished
    other = CentresTask(
        str(folder), (5, 5, 5), class_names=task.class_names, output=str(tmp_path / "o"), **how
    )
    (entry,) = find_centres(other).entries  # the picks of another run of ours
    assert "--overwrite" in entry.error
    with pytest.raises(ConfigError, match="no object of the project has the label 4"):
        project_names(picks, 4)
    with pytest.raises(AddressError, match=r"Give CONFIG\.json"):
        project_names("picks.star", 3)


def _stop(*given: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"is_compatible": True, "inside": True}, "CryoSiam has no inside"),
        ({"class_names": {"ribosome": 4}}, "values 1 to 3"),
        ({"class_names": {"a": 1, "b": 1}}, "each value one name"),
        ({"method": "peaks"}, 'method is "peaks"'),
        ({"relion": "all.csv"}, r"ends in \.star"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        CentresTask(str(folder), (5, 5, 5), **changes)


def test_a_table_without_a_folder_is_refused_before_any_work(folder: Path) -> None:
    events: list[object] = []
    with pytest.raises(MissingFileError, match="does not exist"):
        find_centres(
            CentresTask(str(folder), (5, 5, 5), relion=str(folder / "none" / "all.star")),
            observe=events.append,
        )
    assert not events
    assert [path.name for path in folder.iterdir()] == ["a_preds.h5"]


def test_maps_that_are_not_there_fail_their_tomogram_alone(folder: Path) -> None:
    write_prediction(folder / "b_preds.h5", has_maps=False)
    report = find_centres(CentresTask(str(folder), (5, 5, 5), weight_by="distances"))
    assert [entry.status for entry in report.entries] == ["done", "failed"]
    assert "distances" in report.entries[1].error
    assert set(pd.read_csv(folder / "particles.csv")["tomo"]) == {"a"}
