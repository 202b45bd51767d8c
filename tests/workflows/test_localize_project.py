"""Localization in a copick project as Octopi's users ask for it: flags, labels, picks, log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import copick
import dask.array as da
import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import yaml
import zarr
from scipy import ndimage as ndi

from volproc.cli.main import run
from volproc.core.errors import ConfigError
from volproc.core.volume import Volume
from volproc.graph.save import save
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.omezarr_write import create_channels
from volproc.io.points import read_points
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import localize

SHAPE = (20, 34, 38)
CENTRES = {"ribosome": [(7, 8, 9), (12, 24, 27)], "apo": [(8, 25, 9)]}
RADII = {"ribosome": 60.0, "apo": 50.0}
VALUES = {"ribosome": 1, "apo": 2}
OBJECTS = (
    ProjectObject("apo", 7, RADII["apo"]),  # not the value that the network gives it
    ProjectObject("ribosome", 5, RADII["ribosome"]),
    ProjectObject("membrane", 9, is_particle=False),
)
PEERS = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi"


def classes(values: dict[str, int] = VALUES, scale: float = 0.9) -> np.ndarray:
    """Balls of 0.9 radii at the centres."""
    found = np.zeros(SHAPE, np.uint8)
    grid = np.indices(SHAPE)
    for name, centres in CENTRES.items():
        for centre in centres:
            apart = sum((grid[i] - centre[i]) ** 2 for i in range(3))
            found[apart <= (scale * RADII[name] / 10) ** 2] = values[name]
    return found


def put(config: Path, member: str, voxels: np.ndarray) -> None:
    save(Volume(da.from_array(voxels, chunks=16), (10.0,) * 3), f"{config}:{member}@10")


def write_labels(config: Path, name: str, labels: Any) -> None:
    logs = config.parent / "project" / "logs"
    logs.mkdir(exist_ok=True)
    (logs / f"segment-octopi_1_{name}.yaml").write_text(yaml.safe_dump({"labels": labels}))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A project of three runs, of which the last has no segmentation, with Octopi's log."""
    path = create_project(tmp_path / "config.json", objects=OBJECTS, runs=["TS_1", "TS_2", "TS_3"])
    for name in ("TS_1", "TS_2"):
        put(path, f"{name}/predict:octopi/1", classes())
    write_labels(path, "predict", VALUES)
    return path


def picks_of(config: Path, run_name: str, name: str, owner: str = "octopi/1") -> np.ndarray:
    address = f"{config}:{run_name}/{name}:{owner}"
    return np.array(sorted(read_points(address, voxel_size=10.0).zyx.round(3).tolist()))


def command(*words: object) -> int:
    return run(["localize", *map(str, words), "-q"])


def test_octopis_flags_localize_all_runs_and_name_the_one_without_a_segmentation(
    config, capsys
) -> None:
    status = command("--config", config, "--seg-info", "predict", "-pui", "octopi", "-np", "2")
    out = capsys.readouterr().out
    assert status == 1
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["TS_1", "done"], ["TS_2", "done"], ["TS_3", "failed"],
    ]  # fmt: skip
    assert "no segmentation predict:octopi/1@10" in out
    for run_name in ("TS_1", "TS_2"):
        for name, centres in CENTRES.items():
            np.testing.assert_array_equal(picks_of(config, run_name, name), centres)
    log = yaml.safe_load((config.parent / "project/logs/localize-octopi_1.yaml").read_text())
    assert log["input"] == {
        "config": str(config), "seg_name": "predict", "seg_user_id": "octopi",
        "seg_session_id": "1", "voxel_size": 10.0,
    }  # fmt: skip
    assert log["output"] == {"pick_session_id": "1", "pick_user_id": "octopi"}
    assert log["parameters"] == {
        "method": "watershed", "radius_min_scale": 0.5, "radius_max_scale": 1.0, "filter_size": 10,
    }  # fmt: skip
    assert log["labels"] == VALUES
    assert log["picks"] == {"apo": 2, "ribosome": 4}
    assert log["runs"] == {"done": ["TS_1", "TS_2"], "failed": ["TS_3"]}
    found = copick.from_file(str(config)).get_run("TS_1").get_picks("ribosome")[0]
    points, transforms = found.numpy()
    assert points.shape == (2, 3)
    np.testing.assert_array_equal(transforms, np.tile(np.eye(4), (2, 1, 1)))


def test_chosen_objects_leave_the_picks_of_others_and_stale_ones_become_empty(config) -> None:
    chosen = ("--config", config, "--runIDs", "[TS_1]")
    assert command(*chosen, "--pick-objects", "ribosome") == 0
    assert command(*chosen, "--pick-objects", "apo") == 0  # no picks of apo were there
    assert command(*chosen, "-obj", "apo") == 1  # now there are
    write_labels(config, "predict", {"ribosome": 200, "apo": 2})
    assert command(*chosen, "--overwrite") == 0
    assert len(picks_of(config, "TS_1", "ribosome")) == 0
    np.testing.assert_array_equal(picks_of(config, "TS_1", "apo"), CENTRES["apo"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--runIDs", "TS_1,TS_9"), 'no run "TS_9"; did you mean'),
        (("--pick-objects", "apoo"), '"apoo" is no particle .* did you mean "apo"'),
        (("--pick-objects", "membrane"), '"membrane" is no particle in the project'),
        (("--seg-info", "a,b"), "Write its name, or name,user,session"),
        (("--seg-uri", "a:b/c/d"), "Write name:user/session"),
        (("--seg-info", "a", "--seg-uri", "a"), "give one of them"),
        (("--pick-user-id", "my_user"), 'user "my_user" is no name in copick'),
        (("-o", "picks.csv"), "leave out --output"),
        (("maps.zarr",), "leave out CLASSES"),
        (("--method", "peaks"), "need --probabilities"),
        (("-np", "2", "--cluster", "threads"), "leave one of them out"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(config, capsys, words, text) -> None:
    before = sorted(config.parent.rglob("*"))
    assert command("--config", config, *words) in (1, 2)
    message = " ".join(capsys.readouterr().err.split())
    assert re.search(text, message), message
    assert sorted(config.parent.rglob("*")) == before


def test_a_particle_without_a_radius_is_named_unless_others_are_chosen(config, capsys) -> None:
    values = json.loads(config.read_text())
    values["pickable_objects"][0]["radius"] = None
    config.write_text(json.dumps(values))
    assert command("--config", config, "--runIDs", "TS_1") == 1
    assert "without a radius: apo. Give each a radius there, or leave it out" in (
        capsys.readouterr().err
    )
    assert command("--config", config, "--runIDs", "TS_1", "--pick-objects", "ribosome") == 0


def test_labels_come_from_the_project_or_from_the_flag_where_there_is_no_log(config) -> None:
    put(config, "TS_1/mine:me/2", classes({"ribosome": 5, "apo": 7}))
    words = ("--config", config, "--runIDs", "TS_1", "--seg-uri", "mine:me/2")
    assert command(*words) == 0
    for name, centres in CENTRES.items():
        np.testing.assert_array_equal(picks_of(config, "TS_1", name), centres)
    put(config, "TS_1/masks:me/3", classes({"ribosome": 1, "apo": 0}))
    more = ("--seg-info", "masks,me,3", "--label", 1, "-obj", "ribosome", "-psid", 2)
    assert command(*words[:4], *more) == 0
    np.testing.assert_array_equal(
        picks_of(config, "TS_1", "ribosome", "octopi/2"), CENTRES["ribosome"]
    )


def test_a_binary_segmentation_of_copick_is_of_the_object_it_is_named_after(config) -> None:
    root = copick.from_file(str(config))
    mask = (classes() == 2).astype(np.uint8)
    made = root.get_run("TS_2").new_segmentation(10.0, "apo", "9", False, user_id="tool")
    made.from_numpy(mask)
    words = ("--config", config, "--runIDs", "TS_2", "--seg-info", "apo,tool,9")
    assert command(*words, "-pui", "volproc") == 0
    np.testing.assert_array_equal(picks_of(config, "TS_2", "apo", "volproc/1"), CENTRES["apo"])


def test_classes_that_are_no_objects_of_the_project_are_named(config, capsys) -> None:
    write_labels(config, "predict", {"virus": 2, "ribosome": 1})
    assert command("--config", config, "--runIDs", "TS_1") == 0
    assert "and are not looked for: virus" in capsys.readouterr().err
    write_labels(config, "predict", {"virus": 1})
    assert command("--config", config, "--runIDs", "TS_1", "-psid", 2) == 1
    assert "none of the project's particles" in capsys.readouterr().err


def test_a_damaged_log_is_named(config, capsys) -> None:
    write_labels(config, "predict", {})
    assert command("--config", config) == 1
    assert "says no labels" in capsys.readouterr().err


def test_centres_of_mass_are_scipys_with_the_axes_right(config) -> None:
    voxels = classes(scale=0.8)
    voxels[7, 8, 14:17] = 1  # a tail that moves the centre along x alone
    put(config, "TS_3/predict:octopi/1", voxels)
    assert command("--config", config, "-m", "com", "--runIDs", "TS_3") == 0
    labels, count = ndi.label(voxels == 1)
    sizes = np.bincount(labels.ravel())
    ball = 4 / 3 * np.pi * 6**3
    kept = [i for i in range(1, count + 1) if ball * 0.5**3 < sizes[i] < ball]
    centres = ndi.center_of_mass(labels > 0, labels, kept)
    np.testing.assert_allclose(picks_of(config, "TS_3", "ribosome"), centres, atol=1e-3)


def test_scores_are_the_mean_probability_in_the_object_and_peaks_have_their_own(
    config, tmp_path
) -> None:
    sink = create_channels(
        tmp_path / "TS_1_probabilities.zarr",
        names=("background", "ribosome", "apo"), shape=SHAPE, dtype=np.uint8,
        voxel_size=(10.0,) * 3, chunks=(16, 16, 16),
    )  # fmt: skip
    found = classes()
    block = np.stack([found == value for value in range(3)]).astype(np.uint8) * 255
    z = CENTRES["ribosome"][0][0]
    block[1, z, :, :19] //= 5  # one plane through the first ribosome has 0.2
    sink.write(tuple(slice(0, n) for n in SHAPE), block)
    sink.finish()
    template = tmp_path / "{name}_probabilities.zarr"
    words = ("--config", config, "--runIDs", "TS_1", "--probabilities", template)
    labels = ndi.label(ndi.binary_opening(found == 1))[0]
    for session, method in ((1, "watershed"), (2, "com")):
        assert command(*words, "-psid", session, "--method", method) == 0
        points = read_points(f"{config}:TS_1/ribosome:octopi/{session}", voxel_size=10.0)
        mask = labels if method == "watershed" else ndi.label(found == 1)[0]
        means = ndi.mean(block[1] / 255, mask, (1, 2))
        assert 0.7 < means[0] < 0.99
        np.testing.assert_allclose(points.table["score"], means, atol=1e-5)
    assert command(*words, "-psid", 3, "--method", "peaks") == 0
    for name, centres in CENTRES.items():
        near = picks_of(config, "TS_1", name, "octopi/3")
        assert np.abs(near - centres).max() <= 2
    ones = read_points(f"{config}:TS_1/apo:octopi/3", voxel_size=10.0)
    np.testing.assert_array_equal(ones.table["score"], 1.0)


@pytest.mark.parametrize("kind", ["mrc", "tif", "h5", "zarr"])
def test_binary_masks_of_any_tool_and_format_are_localized_by_their_label(tmp_path, kind) -> None:
    mask = classes({"ribosome": 1, "apo": 1})
    path = tmp_path / f"mask.{kind}"
    address = str(path)
    if kind == "mrc":
        with mrcfile.new(path, mask.astype(np.int16)) as file:
            file.voxel_size = 10.0
    elif kind == "tif":
        tifffile.imwrite(path, mask * np.uint16(255))
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["labels"] = mask.astype(np.int64)
        address += ":/labels"
    else:
        zarr.save_array(str(path), mask.astype(bool))
    task = LocalizeTask(
        address, radii={"ball": 60.0}, label=255 if kind == "tif" else 1, voxel_size=10.0
    )
    points, _ = localize(task)
    expected = sorted(centre for centres in CENTRES.values() for centre in centres)
    assert sorted(map(tuple, points.zyx.round(3))) == expected


def test_a_label_without_classes_still_needs_a_radius(tmp_path) -> None:
    np.save(tmp_path / "mask.npy", classes())
    with pytest.raises(ConfigError, match="--radius NAME=ANGSTROM"):
        localize(LocalizeTask(str(tmp_path / "mask.npy"), label=1, voxel_size=10.0))


@pytest.mark.parametrize("step", ["write_points", "write_record", "end_writing"])
def test_a_run_that_is_killed_while_it_writes_goes_on(config, monkeypatch, step) -> None:
    words = ("--config", config, "--runIDs", "TS_1,TS_2")
    module = "picking" if step == "write_record" else "particles"
    target = f"volproc.workflows.{module}.{step}"
    original = pytest.importorskip(f"volproc.workflows.{module}").__dict__[step]

    def kill(*given: Any, **how: Any) -> None:
        original(*given, **how)  # the picks, or the record, are there
        raise KeyboardInterrupt(2)

    with monkeypatch.context() as patch:
        patch.setattr(target, kill)
        assert command(*words) == 130
    assert len(list(config.parent.rglob("Picks/*.json"))) == 2
    assert not list(config.parent.rglob("localize-*.yaml"))
    assert command(*words) == 0
    for run_name in ("TS_1", "TS_2"):
        np.testing.assert_array_equal(picks_of(config, run_name, "ribosome"), CENTRES["ribosome"])
    assert not list(config.parent.rglob("*.work"))
    assert command(*words) == 1  # finished now: refused without --overwrite


@pytest.mark.skipif(not PEERS.exists(), reason="the shared data are not here")
def test_picks_are_those_of_octopi(tmp_path) -> None:
    values = json.loads((PEERS / "config.json").read_text())
    values["overlay_root"] = "local://project/"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    (tmp_path / "project/ExperimentRuns/TS_2").mkdir(parents=True)
    for session, name in (("1", "predict"), ("2", "ensemble")):
        voxels = np.load(PEERS / f"expected/seg_TS_2_{name}.npz")["labels"]
        put(config, f"TS_2/predict:octopi/{session}", voxels)
        info = f"predict,octopi,{session}"
        assert command("--config", config, "--seg-info", info, "-psid", session) == 0
        expected = json.loads((PEERS / f"expected/picks_TS_2_{session}.json").read_text())
        for object_name, points in expected.items():
            path = (
                tmp_path / f"project/ExperimentRuns/TS_2/Picks/octopi_{session}_{object_name}.json"
            )
            found = json.loads(path.read_text())["points"]
            xyz = [[p["location"][axis] for axis in "xyz"] for p in found]
            np.testing.assert_allclose(xyz, points, atol=1e-9)
