"""Training on the whole: the loss falls, runs resume to the bit, bad runs end clearly."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.core.errors import ConfigError, ExistsError, ModelError, NonFiniteError, ResumeError
from volproc.core.events import Event
from volproc.models.loading import load_model, read_spec
from volproc.training import data as training_data
from volproc.training.augment import Augmentation
from volproc.training.labelled import ArraySource
from volproc.training.semantic import train_semantic
from volproc.training.settings import PhantomData, TrainingSettings, VolumeData
from volproc.training.validation import Scores

CLASSES = ("background", "beta-amylase", "membrane")
SMALL = {"classes": [{"name": "beta-amylase", "form": "ellipsoid", "radius_angstrom": 60.0}]}


def tiny(**changes: object) -> TrainingSettings:
    values: dict[str, object] = {
        "classes": CLASSES,
        "train": (PhantomData((40, 44, 48), 1, 1, (0.1, 0.2), {**SMALL, "crowding": 12.0}),),
        "radii": {"beta-amylase": 60.0},
        "voxel_size": 10.0,
        "params": {"widths": [4, 8]},
        "patch": (16, 20, 24),
        "epochs": 2,
        "steps_per_epoch": 4,
        "learning_rate": 0.01,
        "warmup_steps": 2,
        "ema_decay": 0.5,
        "validation_patches": 4,
        "device": "cpu",
    }
    return TrainingSettings(**{**values, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_loss_falls_and_the_best_model_is_a_model_file(tmp_path: Path) -> None:
    events: list[Event] = []
    settings = tiny(epochs=5, steps_per_epoch=12)
    best = train_semantic(settings, output=tmp_path, observe=events.append)
    losses = [e.facts["loss"] for e in events if e.kind == "epoch"]
    assert len(losses) == 5
    assert losses[-1] < 0.7 * losses[0]
    assert [e.kind for e in (events[0], events[-1])] == ["stage", "done"]
    assert events[0].total == 5
    spec = read_spec(best)
    assert spec.classes == CLASSES
    assert (spec.patch, spec.voxel_size, spec.radii) == ((16, 20, 24), 10.0, {"beta-amylase": 60.0})
    assert load_model(spec, "cpu")(torch.zeros(1, 1, 16, 20, 24)).shape == (1, 3, 16, 20, 24)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["loss"]) for r in rows] == losses
    assert max(float(r["fbeta"]) for r in rows) == events[-1].facts["best_score"]
    written = json.loads((tmp_path / "training.json").read_text())
    assert TrainingSettings.from_json(written["settings"]) == settings


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = weights(train_semantic(tiny(epochs=1), output=tmp_path / "a"))
    again = weights(train_semantic(tiny(epochs=1), output=tmp_path / "b"))
    other = weights(train_semantic(tiny(epochs=1, seed=1), output=tmp_path / "c"))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, dropout: float) -> None:
    settings = tiny(epochs=3)
    if dropout:
        params = {"channels": [4, 8], "strides": [2], "num_res_units": 1, "dropout": dropout}
        settings = tiny(epochs=3, architecture="octopi-unet", params=params)
    whole = train_semantic(settings, output=tmp_path / "whole")

    def kill(event: Event) -> None:
        torch.rand(1)  # what other libraries draw meanwhile changes nothing
        if event.kind == "epoch" and event.facts["epoch"] == 2:
            raise _KilledError

    with pytest.raises(_KilledError):
        train_semantic(settings, output=tmp_path / "killed", observe=kill)
    events: list[Event] = []
    resumed = train_semantic(
        settings, output=tmp_path / "killed", observe=events.append, resume=True
    )
    assert [e.kind for e in events] == ["stage", "skip", "skip", "epoch", "done"]
    for name in ("best.pt", "last-state.pt"):
        a = torch.load(tmp_path / "whole" / name, weights_only=True)
        b = torch.load(tmp_path / "killed" / name, weights_only=True)
        key = "state_dict" if name == "best.pt" else "network"
        assert all(torch.equal(a[key][k], b[key][k]) for k in a[key])
    assert whole.read_bytes() == resumed.read_bytes()
    assert (tmp_path / "whole/history.csv").read_text() == (
        tmp_path / "killed/history.csv"
    ).read_text()


def test_a_finished_run_resumes_without_work(tmp_path: Path, monkeypatch) -> None:
    best = train_semantic(tiny(epochs=1), output=tmp_path)
    before = best.read_bytes()
    monkeypatch.setattr(training_data, "_open_all", lambda *a: pytest.fail("data were opened"))
    assert train_semantic(tiny(epochs=1), output=tmp_path, resume=True).read_bytes() == before


def test_resuming_with_other_settings_names_what_changed(tmp_path: Path) -> None:
    train_semantic(tiny(epochs=1), output=tmp_path)
    with pytest.raises(ResumeError, match=r"learning_rate 0\.01 → 0\.02"):
        train_semantic(tiny(epochs=1, learning_rate=0.02), output=tmp_path, resume=True)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "last-state.pt").write_bytes(b"nothing")
    with pytest.raises(ResumeError, match="is not the state of a training run"):
        train_semantic(tiny(), output=tmp_path, resume=True)


def test_a_run_that_is_there_is_not_overwritten_unasked(tmp_path: Path) -> None:
    best = train_semantic(tiny(epochs=1), output=tmp_path)
    before = best.read_bytes()
    with pytest.raises(ExistsError, match="--resume"):
        train_semantic(tiny(epochs=1, seed=1), output=tmp_path)
    assert best.read_bytes() == before
    train_semantic(tiny(epochs=1, seed=1), output=tmp_path, overwrite=True)
    assert best.read_bytes() != before
    others = tmp_path / "octopi"
    others.mkdir()
    (others / "best_model.pth").write_bytes(b"weights of another program")
    with pytest.raises(ExistsError, match=r"best_model\.pth"):
        train_semantic(tiny(epochs=1), output=others)


def spoil(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """Make the loss NaN in some calls, counted from 1."""
    import volproc.training.semantic as module

    real, count = module.loss_of, []

    def diverge(*args: object, **kwargs: object) -> torch.Tensor:
        count.append(1)
        loss = real(*args, **kwargs)
        return loss * float("nan") if len(count) in calls else loss

    monkeypatch.setattr(module, "loss_of", diverge)


def test_a_loss_that_is_not_finite_is_skipped_and_many_in_a_row_stop_the_run(
    tmp_path: Path, binary: VolumeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = rods(binary, most_bad_steps=2)
    events: list[Event] = []
    with monkeypatch.context() as patched:
        spoil(patched, 3, 5, 6)
        best = train_semantic(settings, output=tmp_path / "skipped", observe=events.append)
    assert [e.facts["skipped_steps"] for e in events if e.kind == "epoch"] == [1, 2]
    assert all(v.isfinite().all() for v in weights(best).values())
    spoil(monkeypatch, 6, 7, 8)
    with pytest.raises(ModelError, match=r"3 steps in a row.*epoch 2, step 4.*learning_rate"):
        train_semantic(settings, output=tmp_path / "out")
    assert all(v.isfinite().all() for v in weights(tmp_path / "out" / "best.pt").values())


def test_training_stops_when_scores_get_no_better_and_that_is_final(
    tmp_path: Path, binary: VolumeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    import volproc.training.semantic as module

    given = iter([0.4, 0.5, 0.5, 0.3, 0.9])
    monkeypatch.setattr(module, "validate", lambda *a, **k: Scores({}, next(given)))
    events: list[Event] = []
    settings = rods(binary, epochs=9, steps_per_epoch=1, patience=2)
    best = train_semantic(settings, output=tmp_path / "out", observe=events.append)
    epochs = [e.facts["epoch"] for e in events if e.kind == "epoch"]
    assert epochs == [1, 2, 3, 4]
    assert "no better score in 2 validations" in events[-2].text
    before = best.read_bytes()
    train_semantic(settings, output=tmp_path / "out", resume=True)
    assert best.read_bytes() == before


def test_validation_takes_place_every_so_many_epochs_and_at_the_end(
    tmp_path: Path, binary: VolumeData
) -> None:
    settings = rods(binary, epochs=5, steps_per_epoch=1, validate_every=2)
    train_semantic(settings, output=tmp_path / "out")
    with (tmp_path / "out" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["fbeta"]) for row in rows] == [False, True, False, True, True]


def test_the_rate_rises_from_the_first_step_and_ends_where_it_should() -> None:
    import volproc.training.semantic as module

    settings = tiny(epochs=10, steps_per_epoch=10, warmup_steps=20, final_rate=0.001)
    trainer = module._Trainer(settings, torch.device("cpu"))
    rates = [trainer._rate(step) / settings.learning_rate for step in range(101)]
    assert rates[0] == pytest.approx(1 / 20, rel=1e-3)
    assert max(rates) < 1
    assert rates.index(max(rates)) == 19
    assert rates[100] == pytest.approx(0.001)


@pytest.fixture
def binary(tmp_path: Path) -> VolumeData:
    """A small volume with bright rods, and a 0/255 mask."""
    rng = np.random.default_rng(0)
    mask = np.zeros((15, 26, 21), np.uint8)
    mask[:, 5:9, 4:8] = mask[:, 16:20, 12:16] = 255
    image = (mask / 255 * 60 + rng.normal(100, 10, mask.shape)).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "mask.npy", mask)
    return VolumeData(
        str(tmp_path / "image.npy"), str(tmp_path / "mask.npy"), {255: "rod"}, voxel_size=12.0
    )


def rods(data: VolumeData, **changes: object) -> TrainingSettings:
    return tiny(
        classes=("background", "rod"), radii={}, train=(data,), patch=(16, 16, 16), **changes
    )


def test_a_binary_mask_is_learnt_from_a_volume_thinner_than_a_patch(
    tmp_path: Path, binary: VolumeData
) -> None:
    events: list[Event] = []
    settings = rods(binary, epochs=4, steps_per_epoch=20, augmentation=Augmentation(noise=0.0))
    train_semantic(settings, output=tmp_path / "out", observe=events.append)
    assert events[-1].facts["best_score"] > 0.8


def test_volumes_larger_than_memory_give_the_same_bits(tmp_path: Path, binary: VolumeData) -> None:
    kept = train_semantic(rods(binary, epochs=1), output=tmp_path / "a")
    read = train_semantic(rods(binary, epochs=1, memory_bytes=0), output=tmp_path / "b")
    assert kept.read_bytes() == read.read_bytes()


def test_a_mask_of_another_shape_is_refused(tmp_path: Path, binary: VolumeData) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((5, 7, 11), np.uint8))
    with pytest.raises(ValueError, match=r"has shape \(5, 7, 11\), its image \(15, 26, 21\)"):
        train_semantic(rods(binary), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_stays_where_its_replacement_cannot_begin(
    tmp_path: Path, binary: VolumeData
) -> None:
    best = train_semantic(rods(binary, epochs=1), output=tmp_path / "out")
    before = best.read_bytes()
    np.save(tmp_path / "mask.npy", np.zeros((5, 7, 11), np.uint8))
    with pytest.raises(ValueError, match="has shape"):
        train_semantic(rods(binary), output=tmp_path / "out", overwrite=True)
    assert best.read_bytes() == before


def test_a_value_that_the_mask_does_not_have_is_refused(tmp_path, binary: VolumeData) -> None:
    with pytest.raises(ConfigError, match=r"has a value of \[1\]"):
        train_semantic(rods(replace(binary, values={1: "rod"})), output=tmp_path / "out")


def test_nan_voxels_are_counted_and_refused(tmp_path: Path, binary: VolumeData) -> None:
    image = np.load(tmp_path / "image.npy").astype(np.float32)
    image[0, 0, :3] = np.nan
    np.save(tmp_path / "image.npy", image)
    with pytest.raises(NonFiniteError, match="3 NaN or infinite voxels"):
        train_semantic(rods(binary), output=tmp_path / "out")


def test_phantoms_of_other_classes_are_refused(tmp_path: Path) -> None:
    settings = tiny(train=(PhantomData((20, 20, 20)),))
    with pytest.raises(ConfigError, match="the phantom's classes are background, apo-ferritin"):
        train_semantic(settings, output=tmp_path)


def test_validation_without_training_data_of_its_own_uses_the_held_out_volume(
    tmp_path: Path, monkeypatch
) -> None:
    held_out = (PhantomData((16, 20, 24), 1, 50, (0.1, 0.1), SMALL),)
    seen: list[str] = []
    import volproc.training.semantic as module

    real = module.validate

    def spy(forward, volumes, **kwargs):
        seen.extend(v.name for v in volumes)
        return real(forward, volumes, **kwargs)

    monkeypatch.setattr(module, "validate", spy)
    train_semantic(tiny(epochs=1, validate=held_out), output=tmp_path)
    assert seen == ["phantom 50"]


def test_array_sources_copy_what_they_give() -> None:
    source = ArraySource(np.zeros((3, 4, 5), np.float32))
    source.read((slice(0, 1), slice(0, 1), slice(0, 1)))[:] = 1
    assert not source.array.any()


def test_a_run_starts_from_the_layers_of_another_model(tmp_path: Path) -> None:
    import volproc.training.semantic as module

    first = train_semantic(tiny(epochs=1), output=tmp_path / "a")
    other = tiny(classes=("background", "rod"), radii={}, start_from=str(first))
    network = module._Trainer(other, torch.device("cpu")).network.state_dict()
    given = weights(first)
    same = [k for k in given if torch.equal(network[k], given[k])]
    assert set(given) - set(same) == {"head.weight", "head.bias"}
    unlike = tiny(params={"widths": [5, 7]}, start_from=str(first), classes=("a", "b"), radii={})
    with pytest.raises(ModelError, match="no layer of"):
        module._Trainer(unlike, torch.device("cpu"))


SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "tomograms"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not there")
def test_the_config_for_microtubules_runs_on_the_real_files(tmp_path: Path, monkeypatch) -> None:
    from volproc.config.loading import load
    from volproc.config.training import TrainConfig

    project = Path(__file__).parents[2]
    monkeypatch.chdir(project)
    values = load(project / "configs" / "train-microtubules.yaml", TrainConfig).to_training()
    short = {**values, "epochs": 1, "steps_per_epoch": 2, "validation_patches": 2}
    best = train_semantic(TrainingSettings.from_json(short), output=tmp_path)
    assert read_spec(best).classes == ("background", "microtubule")
