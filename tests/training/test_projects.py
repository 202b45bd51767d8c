"""Settings of a training from copick projects: labels, runs, several projects, a model to go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.core.errors import AddressError, ConfigError
from volproc.core.events import Event
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.points import write_points
from volproc.models.loading import read_spec
from volproc.models.networks import build
from volproc.models.octopi import read_octopi_spec
from volproc.training.data import load_data
from volproc.training.projects import Project, ProjectData, continue_from, settings_of
from volproc.training.semantic import train_semantic
from volproc.training.settings import TrainingSettings
from volproc.training.target_choice import Source, choose_targets
from volproc.training.targets import TargetsTask, create_targets

SHAPE = (20, 24, 28)
SMALL = {
    "architecture": "octopi-unet",
    "params": {"channels": [4, 8], "strides": [2], "num_res_units": 1, "dropout": 0.0},
    "patch": (16, 16, 16),
    "epochs": 1,
    "steps_per_epoch": 1,
    "metric": "picks",
    "device": "cpu",
}


def make(
    folder: Path, labels: dict[str, int], runs: tuple[str, ...], *, voxel_size: float = 10.0
) -> Path:
    """A project with one particle of each object in each run, and targets."""
    folder.mkdir()
    config = create_project(
        folder / "config.json",
        objects=[ProjectObject(name, label, 35.0) for name, label in labels.items()],
    )
    rng = np.random.default_rng(0)
    for run in runs:
        voxels = rng.normal(5, 2, SHAPE).astype(np.float32)
        add_tomogram(config, run, "wbp", voxels, voxel_size=voxel_size)
        for at, name in enumerate(labels):
            points = Points.from_zyx(
                [[6.0 + 7 * at, 9.0, 10.0]],
                class_name=name,
                voxel_size=(voxel_size,) * 3,
                shape=SHAPE,
                name=run,
            )
            write_points(points, f"{config}:{run}/{name}:me/1")
    chosen = choose_targets(str(config), user="me", session="1")
    create_targets(TargetsTask(str(config), chosen, voxel_size=voxel_size))
    return config


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return make(tmp_path / "one", {"ribosome": 9, "apo": 4}, ("TS_1", "TS_2", "TS_3", "TS_4"))


def data(config: Path, **changes: object) -> ProjectData:
    return ProjectData((Project(str(config)),), **changes)


def settings(wanted: ProjectData, **changes: object) -> TrainingSettings:
    return settings_of(wanted, **{**SMALL, **changes})[0]


def test_labels_with_gaps_become_channels_and_keep_their_names(one: Path) -> None:
    found = settings(data(one))
    assert found.classes == ("background", "apo", "ribosome")
    assert found.radii == {"apo": 35.0, "ribosome": 35.0}
    assert found.voxel_size == 10.0
    first = load_data(found, found.train)[0]
    classes = first.classes.read(tuple(slice(0, n) for n in SHAPE))
    assert (classes[6, 9, 10], classes[13, 9, 10]) == (2, 1)
    np.testing.assert_allclose(first.centres[1], [[13.0, 9.0, 10.0]])
    assert first.voxel_size == (10.0,) * 3


def test_runs_are_split_by_the_seed_or_named(one: Path) -> None:
    def runs(**changes: object) -> tuple[list[str], list[str]]:
        found = settings(data(one, **changes))
        train, held_out = found.train, found.validate
        return [r for d in train for r in d.runs], [r for d in held_out for r in d.runs]

    train, held_out = runs(split=0.75)
    assert len(train) == 3
    assert sorted(train + held_out) == ["TS_1", "TS_2", "TS_3", "TS_4"]
    assert {tuple(runs(split=0.75, seed=seed)[1]) for seed in range(8)} != {tuple(held_out)}
    quarter = runs(split=0.5, validate_split=0.25)
    assert (len(quarter[0]), len(quarter[1])) == (2, 1)
    _, notes = settings_of(data(one, split=0.5, validate_split=0.25))
    assert notes[-1].startswith("neither trained on nor held out: TS_")
    assert runs(train_runs=("TS_2",)) == (["TS_2"], ["TS_1", "TS_3", "TS_4"])
    assert runs(validate_runs=("TS_2",)) == (["TS_1", "TS_3", "TS_4"], ["TS_2"])
    assert runs(train_runs=("TS_3",), validate_runs=("TS_1",)) == (["TS_3"], ["TS_1"])
    with pytest.raises(ConfigError, match="TS_1 would be trained on and held out"):
        runs(train_runs=("TS_1", "TS_2"), validate_runs=("TS_1",))
    with pytest.raises(AddressError, match='no project has a run "TS_7"'):
        runs(train_runs=("TS_7",))


def test_runs_without_a_tomogram_or_targets_are_named_not_dropped(one: Path) -> None:
    add_tomogram(one, "TS_5", "wbp", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    add_tomogram(one, "TS_6", "denoised", np.zeros(SHAPE, np.float32), voxel_size=10.0)
    found, notes = settings_of(data(one), **SMALL)
    assert "without a tomogram wbp at 10 Å: TS_6" in notes[0]
    assert "without targets targets:octopi/1: TS_5" in notes[1]
    assert "TS_5" not in {run for d in (*found.train, *found.validate) for run in d.runs}
    with pytest.raises(AddressError, match=r"TS_6 of .* has not a tomogram wbp"):
        settings(data(one, train_runs=("TS_1", "TS_6")))
    with pytest.raises(ConfigError, match=r"no run of .* has a tomogram wbp at 5 Å"):
        settings(ProjectData((Project(str(one), 5.0),)))


def test_projects_with_other_values_and_voxel_sizes_are_joined_by_name(
    one: Path, tmp_path: Path
) -> None:
    two = make(tmp_path / "two", {"apo": 1, "ribosome": 2}, ("TS_1", "TS_9"), voxel_size=12.5)
    both = ProjectData(
        (Project(str(one), 10.0, "a"), Project(str(two), 12.5, "b")),
        train_runs=("a:TS_1", "b:TS_1"),
        validate_runs=("TS_9",),
    )
    found, notes = settings_of(both, **SMALL)
    assert [d.values for d in found.train] == [{4: "apo", 9: "ribosome"}, {1: "apo", 2: "ribosome"}]
    assert found.voxel_size is None
    assert "voxel sizes are mixed (10, 12.5 Å)" in notes[-1]
    for volume, size in zip(load_data(found, found.train), (10.0, 12.5), strict=True):
        assert volume.voxel_size == (size,) * 3
        assert set(volume.positions) == {1, 2}
    three = make(tmp_path / "three", {"apo": 1, "virus": 2}, ("TS_1",))
    with pytest.raises(ConfigError, match=r"apo, virus, those of .* apo, ribosome"):
        settings(ProjectData((Project(str(one), 10.0, "a"), Project(str(three), 10.0, "c"))))


def test_a_run_in_two_voxel_sizes_is_not_trained_on_and_held_out(one: Path) -> None:
    chosen = choose_targets(str(one), user="me", session="1")
    for run in ("TS_1", "TS_2", "TS_3", "TS_4"):
        add_tomogram(one, run, "wbp", np.zeros(SHAPE, np.float32), voxel_size=20.0)
    create_targets(TargetsTask(str(one), chosen, voxel_size=20.0))
    for seed in range(4):
        both = (Project(str(one), 10.0), Project(str(one), 20.0))
        found = settings(ProjectData(both, seed=seed, split=0.5))
        train, held_out = ([d.runs for d in part] for part in (found.train, found.validate))
        assert train[0] == train[1]
        assert held_out[0] == held_out[1]
        assert not set(train[0]) & set(held_out[0])


def test_targets_of_other_values_than_their_log_are_refused(one: Path) -> None:
    found = settings(data(one))
    wrong = replace(found.train[0], values={4: "apo"})
    with pytest.raises(
        ConfigError, match="holds the values 9, which are no class; known are 4 apo"
    ):
        load_data(found, [wrong])


def test_the_model_loads_here_and_as_octopis_and_is_there_after_an_interruption(
    one: Path, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(event: Event) -> None:
        if event.kind == "epoch":
            raise KilledError

    wanted = settings(data(one), epochs=3)
    with pytest.raises(KilledError):
        train_semantic(wanted, output=tmp_path / "out", observe=kill)
    spec = read_octopi_spec(tmp_path / "out/model_config.yaml", tmp_path / "out/best_model.pth")
    assert spec.classes == ("background", "apo", "ribosome")
    assert (spec.patch, spec.voxel_size) == ((16, 16, 16), 10.0)
    state = torch.load(tmp_path / "out/best_model.pth", weights_only=True)
    network = build("octopi-unet", **SMALL["params"], num_classes=3)
    network.load_state_dict(state, strict=True)
    own = torch.load(tmp_path / "out/best.pt", weights_only=True)["state_dict"]
    assert all(torch.equal(own[name], value) for name, value in state.items())
    assert read_spec(tmp_path / "out/best.pt").radii == {"apo": 35.0, "ribosome": 35.0}
    best = train_semantic(wanted, output=tmp_path / "out", resume=True)
    whole = train_semantic(wanted, output=tmp_path / "whole")
    assert best.read_bytes() == whole.read_bytes()
    for name in ("model_config.yaml", "best_model.pth"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_model_is_gone_on_from_in_its_own_order_of_classes(one: Path, tmp_path: Path) -> None:
    chosen = choose_targets(str(one), [Source("ribosome", "me", "1"), Source("apo", "me", "1")])
    create_targets(TargetsTask(str(one), chosen, name="turned"))
    other = data(one, targets=("turned", "octopi", "1"))
    assert settings(other).classes == ("background", "ribosome", "apo")
    train_semantic(settings(data(one)), output=tmp_path / "first")
    pair = [str(tmp_path / "first" / name) for name in ("model_config.yaml", "best_model.pth")]
    again = continue_from(settings(other, patch=(32, 32, 32)), *pair)
    assert again.classes == ("background", "apo", "ribosome")
    assert (again.patch, again.architecture) == ((16, 16, 16), "octopi-unet")
    train_semantic(replace(again, learning_rate=1e-12), output=tmp_path / "second")
    first, second = (
        torch.load(tmp_path / name / "best_model.pth", weights_only=True)
        for name in ("first", "second")
    )
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)


def test_a_model_whose_labels_do_not_fit_the_targets_is_refused(one: Path, tmp_path: Path) -> None:
    train_semantic(settings(data(one)), output=tmp_path / "first")
    pair = [str(tmp_path / "first" / name) for name in ("model_config.yaml", "best_model.pth")]
    only = choose_targets(str(one), [Source("ribosome", "me", "1")])
    create_targets(TargetsTask(str(one), only, name="few"))
    few = settings(data(one, targets=("few", "octopi", "1")))
    with pytest.raises(ConfigError, match=r"do not fit the targets: it also has apo\."):
        continue_from(few, *pair)
