"""Models of CryoSiam: what is used of a checkpoint is checked, the rest is left out."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import torch

from volproc.core.errors import MissingFileError, ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam import (
    activate,
    read_cryosiam_denoiser,
    read_cryosiam_spec,
    split_outputs,
    with_intensity,
)
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC
from volproc.models.loading import load_model, read_spec, save_model
from volproc.models.memory import weight_bytes
from volproc.models.networks import build

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"
NETWORK: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "block_type": "basic", "num_layers": [1, 2, 1, 1],
    "num_filters": [2, 3, 4, 5], "fpn_channels": 4, "no_max_pool": True, "dense_dim": 3,
}  # fmt: skip
BUILT: dict[str, Any] = {
    "num_layers": [1, 2, 1, 1], "num_filters": [2, 3, 4, 5], "fpn_channels": 4,
    "projector": [4, 6, 3], "head_widths": [7, 5], "head_kernels": [3, 5, 1],
}  # fmt: skip
CRAZY = 10**12
Change = Callable[[dict[str, Any]], Any]


def checkpoint(
    num_channels: int = 4, *, denoiser: bool = False, built: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What CryoSiam's training leaves: a network's weights, others', settings, optimizer."""
    torch.manual_seed(0)
    params = BUILT | (built or {})
    if denoiser:
        state = build(DENOISER, **params).state_dict()
    else:
        activation = "sigmoid" if num_channels == 1 else "softmax"
        state = build(
            SEMANTIC, **params, num_classes=max(num_channels, 2), activation=activation,
            heads=["semantic", "distance"],
        ).state_dict()  # fmt: skip
    named = {
        f"{'_model.' if '_head.' in name else '_model_backbone.'}{name}": value
        for name, value in state.items()
    }
    for branch in ("encoder.fc", "global_projector.0", "predictor.0", "level_projector_2.0"):
        named[f"_model_backbone.{branch}.weight"] = torch.ones(2, 2)
    named["_loss.weight"] = torch.ones(num_channels)
    data = {"patch_size": [16, 24, 8], "min": 0, "max": 2, "mean": 0.5, "std": 1}
    network = {"out_channels": num_channels, "filters": [32, 64], "kernel_size": 3}
    settings = {
        "config": {"parameters": {"data": data, "network": network}},
        "backbone_config": {"parameters": {"network": dict(NETWORK)}},
    }
    return {
        "epoch": 3, "pytorch-lightning_version": "2.0.7", "state_dict": named,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}], "callbacks": {},
        "hyper_parameters": settings,
    }  # fmt: skip


def write(folder: Path, content: dict[str, Any]) -> Path:
    torch.save(content, folder / "model.ckpt")
    return folder / "model.ckpt"


def test_a_model_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    content = checkpoint()
    spec = read_cryosiam_spec(write(tmp_path, content))
    assert spec.architecture == SEMANTIC
    assert (spec.patch, spec.channels, spec.normalization) == ((16, 24, 8), 1, "none")
    assert spec.classes == ("background", "class-1", "class-2", "class-3")
    assert (spec.params["head_widths"], spec.params["head_kernels"]) == ([7, 5], [3, 5, 1])
    assert spec.params["intensity"] == [0, 2, 0.5, 1]
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert read_spec(spec.weights) == spec
    named = read_spec(spec.weights, labels={"ribosome": 2})
    assert named.classes == ("background", "class-1", "ribosome", "class-3")
    assert named.params == spec.params


@pytest.mark.parametrize("num_channels", [1, 4])
def test_a_worker_loads_the_heads_that_it_needs(tmp_path: Path, num_channels: int) -> None:
    content = checkpoint(num_channels)
    path = write(tmp_path, content)
    plain = read_cryosiam_spec(path)
    both = read_cryosiam_spec(path, distances=True)
    loaded = [load_model(pickle.loads(pickle.dumps(spec)), "cpu") for spec in (plain, both)]
    batch = 2 * torch.rand(2, 1, 16, 24, 8)
    logits, distances = split_outputs(both, loaded[1](batch))
    assert torch.equal(loaded[0](batch), logits)
    assert split_outputs(plain, logits)[1] is None
    assert distances is not None
    assert distances.shape == (2, num_channels, 16, 24, 8)
    probabilities = activate(plain, logits)
    assert probabilities.shape == (2, num_channels, 16, 24, 8)
    due = torch.softmax(logits, 1)
    torch.testing.assert_close(probabilities, due[:, 1:] if num_channels == 1 else due)
    if num_channels == 1:
        assert plain.classes == ("background", "foreground")
    names = [name for name, _ in loaded[0].network.named_children()]
    assert names == ["encoder", "decoder", "projector", "semantic_head"]
    assert weight_bytes(both) > weight_bytes(plain)


def test_a_loaded_model_may_scale_intensities_otherwise(tmp_path: Path) -> None:
    spec = read_cryosiam_spec(write(tmp_path, checkpoint()))
    other = with_intensity(spec, minimum=10, maximum=14, mean=0.5, deviation=1)
    assert other.fingerprint() != spec.fingerprint()
    batch = 2 * torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(
        load_model(other, "cpu")(10 + 2 * batch), load_model(spec, "cpu")(batch)
    )
    for wrong in ({"maximum": 10.0}, {"deviation": 0.0}, {"mean": float("nan")}):
        given = {"minimum": 10.0, "maximum": 14.0, "mean": 0.5, "deviation": 1.0} | wrong
        with pytest.raises(ModelError, match="max is above min, and std above 0"):
            with_intensity(spec, **given)


def test_a_denoiser_is_no_model_of_classes(tmp_path: Path) -> None:
    path = write(tmp_path, checkpoint(denoiser=True))
    spec = read_cryosiam_denoiser(path)
    assert spec.architecture == DENOISER
    assert load_model(spec, "cpu")(torch.rand(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)
    with pytest.raises(ModelError, match="denoiser model of CryoSiam and gives intensities"):
        read_spec(path)
    with pytest.raises(ModelError, match=r"semantic model .* gives classes\. Give a denoiser"):
        read_cryosiam_denoiser(write(tmp_path, checkpoint()))


def test_networks_that_no_published_model_has_are_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = {"later_conv": True, "max_pool": True, "block_type": "bottleneck"}
    content = checkpoint(built=built)
    network = content["hyper_parameters"]["backbone_config"]["parameters"]["network"]
    network |= {"block_type": "bottleneck", "no_max_pool": False, "add_fpn_later_conv": True}
    content["state_dict"]["_model_backbone.decoder.later_conv1.weight"] = torch.ones(1)
    spec = read_cryosiam_spec(write(tmp_path, content))
    assert {name: spec.params[name] for name in built} == built
    assert load_model(spec, "cpu")(torch.rand(1, 1, 16, 16, 16)).shape == (1, 4, 16, 16, 16)
    assert "add_fpn_later_conv" in caplog.text
    assert "no_max_pool: false" in caplog.text


def test_a_checkpoint_copied_into_a_model_of_volproc_is_read_as_one(tmp_path: Path) -> None:
    spec = read_cryosiam_spec(write(tmp_path, checkpoint()))
    network = load_model(spec, "cpu")
    for name in ("own.pt", "own.ckpt"):
        save_model(tmp_path / name, spec, network.network.state_dict())
        own = read_spec(tmp_path / name)
        assert replace(own, weights=spec.weights, sha256=spec.sha256) == spec
        batch = torch.rand(1, 1, 8, 8, 8)
        assert torch.equal(load_model(own, "cpu")(batch), network(batch))


def test_another_file_under_the_same_name_is_read_anew(tmp_path: Path) -> None:
    spec = read_cryosiam_spec(write(tmp_path, checkpoint()))
    assert read_cryosiam_spec(write(tmp_path, checkpoint(1))).num_classes == 2
    with pytest.raises(ModelError, match="not the model file that was described"):
        load_model(replace(spec, classes=("background", "a", "b", "c")), "cpu")


def backbone(content: dict[str, Any]) -> dict[str, Any]:
    network: dict[str, Any] = content["hyper_parameters"]["backbone_config"]["parameters"][
        "network"
    ]
    return network


def task(content: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = content["hyper_parameters"]["config"]["parameters"]
    return parameters


CONVOLUTION = "_model_backbone.encoder.layer3.0.conv1.weight"
HEAD = "_model.semantic_head"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["state_dict"].pop(CONVOLUTION), f"1 weights are missing .{CONVOLUTION}"),
        (lambda c: c["state_dict"].pop(f"{HEAD}.3.weight"), f"lacks the weight {HEAD}.3.weight"),
        (lambda c: c["state_dict"].pop(f"{HEAD}.1.running_var"), "missing .*1.running_var"),
        (
            lambda c: c["state_dict"].update({CONVOLUTION: torch.ones(4, 3, 1, 1, 1)}),
            r"have another size .*conv1.weight has \(4, 3, 1, 1, 1\) instead of \(4, 3, 3, 3, 3\)",
        ),
        (lambda c: backbone(c).update(num_layers=[1, 1, 1, 1]), r"are not of this network .*r2\.1"),
        (lambda c: backbone(c).update(num_layers=[1, 3, 1, 1]), r"missing .*layer2\.2"),
        (lambda c: backbone(c).update(num_layers=[1, CRAZY, 1, 1]), "num_layers .* 4 whole num"),
        (lambda c: backbone(c).update(num_filters=[2, 3, 4, CRAZY]), "num_filters .* no side"),
        (lambda c: backbone(c).pop("fpn_channels"), "fpn_channels .* is missing; a whole number"),
        (lambda c: backbone(c).pop("no_max_pool"), "no_max_pool .* is missing; true or false"),
        (lambda c: backbone(c).update(block_type="wide"), "is wide; basic or bottleneck is due"),
        (lambda c: backbone(c).update(decoder_type="bifpn"), "decoder of type bifpn .BiFPN"),
        (lambda c: task(c)["data"].pop("patch_size"), "patch_size .* is missing; three whole"),
        (lambda c: task(c)["data"].update(patch_size=[0, 8, 8]), r"patch_size .* is \[0, 8, 8\]"),
        (lambda c: task(c)["data"].update(std=0), "std 0: max is above min"),
        (lambda c: task(c)["network"].update(out_channels=6), "gives 4 channels, and 6 are due"),
        (lambda c: task(c)["network"].update(padding=1), r"padding 1 and kernels \[3, 5, 1\]"),
        (
            lambda c: c["state_dict"].update({f"{HEAD}.0.weight": torch.ones(7, 3, 2, 3, 3)}),
            "odd, cubic kernels are due",
        ),
        (
            lambda c: c["state_dict"].update({f"{HEAD}.0.weight": torch.ones(7, 3, 3, 3)}),
            r"shape \(7, 3, 3, 3\), a convolution of a network in three dimensions",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_by_name(
    tmp_path: Path, change: Change, message: str
) -> None:
    content = checkpoint()
    change(content)
    with pytest.raises(ModelError, match=message):
        read_spec(write(tmp_path, content))


def test_distances_need_their_head_and_the_other_heads_need_none(tmp_path: Path) -> None:
    content = checkpoint()
    content["state_dict"].pop("_model.distance_head.0.bias")
    path = write(tmp_path, content)
    assert read_cryosiam_spec(path).num_classes == 4
    with pytest.raises(ModelError, match=r"missing \(_model.distance_head.0.bias\)"):
        read_cryosiam_spec(path, distances=True)
    state = content["state_dict"]
    content["state_dict"] = {n: v for n, v in state.items() if "distance_head" not in n}
    with pytest.raises(ModelError, match="has no distance head"):
        read_cryosiam_spec(write(tmp_path, content), distances=True)
    with pytest.raises(MissingFileError, match=r"no checkpoint .*none\.ckpt"):
        read_cryosiam_spec(tmp_path / "none.ckpt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    content = checkpoint()
    content["state_dict"][f"{HEAD}.6.bias"][1] = float("nan")
    spec = read_cryosiam_spec(write(tmp_path, content))
    with pytest.raises(ModelError, match=rf"{HEAD}\.6\.bias in .* is not finite"):
        load_model(spec, "cpu")


def compare_patches(samples: Path, places: list[tuple[int, int, int]]) -> tuple[float, float]:
    """Largest differences of probabilities and distances from CryoSiam's, in what it kept."""
    spec = read_cryosiam_spec(samples / "tiny_particles.ckpt", distances=True)
    tomogram = np.asarray(mrcfile.read(samples / "denoised" / "TS_02.mrc"), np.float32)
    with h5py.File(samples / "lamella" / "TS_02_preds.h5") as file:
        mask = file["labels"][:] > 0
    patches = [tomogram[tuple(slice(s, s + 32) for s in place)] for place in places]
    batch = torch.from_numpy(np.stack(patches))[:, None]
    logits, distances = split_outputs(spec, load_model(spec, "cpu")(batch))
    assert distances is not None
    given = {"probs": activate(spec, logits).numpy(), "distances": distances.numpy()}
    worst = dict.fromkeys(given, 0.0)
    with h5py.File(samples / "particle_internal" / "TS_02_preds.h5") as file:
        for i, place in enumerate(places):
            kept = tuple(slice(8 if s else 0, 24) for s in place)  # a quarter is cropped inside
            region = tuple(slice(s + k.start, s + k.stop) for s, k in zip(place, kept, strict=True))
            for name, values in given.items():
                due = file[name][(slice(None), *region)]
                ours = values[i][(slice(None), *kept)] * mask[region]
                assert due.any()
                worst[name] = max(worst[name], float(np.abs(ours - due).max()))
    return worst["probs"], worst["distances"]


needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples of CryoSiam here")
PAIR = [(0, 0, 0), (0, 0, 16)]


@needs_samples
def test_patches_give_what_cryosiam_wrote() -> None:
    # Logits reach 245 here, of which float32 knows no more than 2e-5 whatever the processor.
    assert max(compare_patches(SAMPLES, PAIR)) < 3e-5


@needs_samples
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="the samples were written with the instructions of another processor",
)
def test_with_the_same_instructions_the_numbers_are_cryosiams() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch; torch.set_num_threads(2)\n"
        "from pathlib import Path; from test_cryosiam import compare_patches, PAIR\n"
        f"print(*compare_patches(Path({str(SAMPLES)!r}), PAIR))"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert max(map(float, done.stdout.split())) < 1e-6


@needs_samples
def test_a_lamella_model_gives_the_labels_that_cryosiam_left_alone() -> None:
    spec = read_spec(SAMPLES / "tiny_lamella.ckpt")
    assert (spec.params["activation"], spec.num_classes) == ("sigmoid", 2)
    tomogram = np.asarray(mrcfile.read(SAMPLES / "denoised" / "TS_02.mrc"), np.float32)
    patch = torch.from_numpy(tomogram[:32, 16:48, 16:48].copy())[None, None]
    given = activate(spec, load_model(spec, "cpu")(patch))[0, 0].numpy() > 0.9
    with h5py.File(SAMPLES / "lamella" / "TS_02_preds.h5") as file:
        labels = file["labels"][:15, 24:40, 24:40]  # the hull is drawn above these slices
    np.testing.assert_array_equal(given[:15, 8:24, 8:24], labels > 0)
    assert 0.1 < labels.mean() < 0.9
