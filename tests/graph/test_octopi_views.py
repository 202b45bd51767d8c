"""Octopi's class maps: whole-volume inference by MONAI, as Octopi does it, is the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet

import volproc
from volproc.core.errors import ConfigError, ModelError
from volproc.core.model import ModelSpec
from volproc.graph.block_predict import predict_block
from volproc.graph.predict import make_job
from volproc.graph.predict_job import PredictJob, Product
from volproc.graph.predict_work import PredictWork
from volproc.graph.region_predict import predict_region
from volproc.graph.settings import PRESETS, Settings, as_models
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.io.open import open_
from volproc.models.ensemble import read_ensemble
from volproc.models.normalization import Scaling
from volproc.plan.inference import make_plan

SHAPE = (11, 21, 26)

TTA = (
    (lambda v: v, lambda v: v),
    (lambda v: v.rot90(2, (-2, -1)), lambda v: v.rot90(-2, (-2, -1))),
    (lambda v: v.flip(-3), lambda v: v.flip(-3)),
    (lambda v: v.flip(-1), lambda v: v.flip(-1)),
    (lambda v: v.flip(-2), lambda v: v.flip(-2)),
    (lambda v: v.rot90(1, (-2, -1)), lambda v: v.rot90(-1, (-2, -1))),
    (lambda v: v.rot90(3, (-2, -1)), lambda v: v.rot90(-3, (-2, -1))),
    (lambda v: v.flip(-3, -2, -1), lambda v: v.flip(-3, -2, -1)),
)
"""Octopi's views in its order, each with its inverse."""

ROTATIONS = tuple(
    (lambda v, k=k: v.rot90(k, (-2, -1)), lambda v, k=k: v.rot90(-k, (-2, -1))) for k in range(4)
)
"""The views of its guide."""


def save(folder: Path, *, seed: int, window: int, labels: dict[str, int]) -> UNet:
    """A random network of Octopi with large differences between its classes."""
    torch.manual_seed(seed)
    network = UNet(3, 1, len(labels) + 1, channels=(3, 5), strides=(2,), num_res_units=1)
    with torch.no_grad():
        for parameter in list(network.parameters())[-2:]:
            parameter *= 8
    folder.mkdir()
    torch.save(network.state_dict(), folder / "best_model.pth")
    named = ", ".join(f"{name}: {value}" for name, value in labels.items())
    (folder / "model_config.yaml").write_text(
        "model: {architecture: Unet, num_classes: 3, channels: [3, 5], strides: [2], "
        f"num_res_units: 1, dropout: 0.0, dim_in: {window}}}\nlabels: {{{named}}}\n"
    )
    return network.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[tuple[ModelSpec, ...], list[UNet]]:
    """Two networks with windows and orders of classes of their own."""
    folder = tmp_path_factory.mktemp("models")
    networks = [
        save(folder / "a", seed=1, window=8, labels={"ribosome": 1, "apo": 2}),
        save(folder / "b", seed=2, window=12, labels={"apo": 1, "ribosome": 2}),
    ]
    specs = read_ensemble(
        [folder / "a/model_config.yaml", folder / "b/model_config.yaml"],
        [folder / "a/best_model.pth", folder / "b/best_model.pth"],
    )
    return specs, networks


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(4).normal(3, 2, SHAPE).astype(np.float32)


def views_of(voxels, network, window, *, tta, overlap=0.5) -> list[torch.Tensor]:
    """Blended logits of each view as Octopi computes them, (classes, z, y, x)."""
    scaled = torch.from_numpy((voxels - voxels.mean()) / voxels.std())[None, None]
    found = []
    with torch.no_grad():
        for forward, inverse in tta:
            logits = sliding_window_inference(
                forward(scaled), (window,) * 3, 4, network, overlap=overlap, mode="constant"
            )
            found.append(inverse(logits)[0])
    return found


def mean_logits(voxels, network, window, **options) -> torch.Tensor:
    return torch.stack(views_of(voxels, network, window, **options)).mean(0)


def segment(voxels, specs, folder, *, chunks, **options) -> np.ndarray:
    path = folder / "volume.npy"
    np.save(path, voxels)
    volume = open_(path, voxel_size=10.0)
    settings = Settings.preset("octopi").changed(options)
    lazy = volproc.predict(volume, specs, settings=settings, chunks=chunks, scratch=folder)
    return np.asarray(lazy.data.compute(scheduler="sync"))


@pytest.mark.parametrize("ntta", [1, 5, 7])
def test_labels_are_octopis_for_every_number_of_views(models, noise, tmp_path, ntta) -> None:
    specs, networks = models
    expected = mean_logits(noise, networks[0], 8, tta=TTA[:ntta]).argmax(0).numpy()
    assert len(np.unique(expected)) == 3
    found = segment(noise, specs[0], tmp_path, chunks=(7, 10, 13), tta=f"octopi{ntta}")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "chunks", "overlap"),
    [
        (SHAPE, SHAPE, 0.25),
        (SHAPE, (7, 9, 26), 0.6),
        ((5, 21, 26), (5, 7, 9), 0.5),  # thinner than a window along z: padded, and not evenly
        ((5, 9, 3), (2, 5, 2), 0.5),
    ],
)
def test_labels_are_octopis_for_every_chunking_and_with_padding(
    models, noise, tmp_path, shape, chunks, overlap
) -> None:
    specs, networks = models
    voxels = noise[tuple(slice(0, n) for n in shape)].copy()
    expected = mean_logits(voxels, networks[0], 8, tta=TTA, overlap=overlap).argmax(0).numpy()
    found = segment(voxels, specs[0], tmp_path, chunks=chunks, tta="octopi8", overlap=overlap)
    np.testing.assert_array_equal(found, expected)


def test_an_ensemble_keeps_each_window_and_matches_classes_by_name(models, noise, tmp_path) -> None:
    specs, networks = models
    first = mean_logits(noise, networks[0], 8, tta=TTA[:4])
    second = mean_logits(noise, networks[1], 12, tta=TTA[:4])
    expected = ((first + second[[0, 2, 1]]) / 2).argmax(0).numpy()
    wrong = ((first + second) / 2).argmax(0).numpy()
    assert (wrong != expected).any()
    found = segment(noise, specs, tmp_path, chunks=(5, 12, 11))
    np.testing.assert_array_equal(found, expected)


def run(voxels, model, settings, products, chunks, folder) -> tuple[PredictJob, list[dict]]:
    """All blocks of a prediction, one after the other."""
    np.save(folder / "volume.npy", voxels)
    source = open_(folder / "volume.npy", voxel_size=10.0).source
    has_variance = "variance" in products
    sizes = settings.job(
        model, shape=source.shape, dtype=source.dtype, storage_chunks=source.chunks,
        has_variance=has_variance,
    )  # fmt: skip
    plan = make_plan(sizes, chunks=chunks)
    stores = []
    for kind, dtype in products.items():
        lead = ((3,),) if kind == "probabilities" else ()
        cuts = (*lead, *plan.grid.dask_chunks)
        stores.append(Product(kind, ChunkFiles(str(folder / kind), cuts, np.dtype(dtype))))
    spill = Spill(str(folder / "spill"))
    job = make_job(source, model, settings, plan, spill, tuple(stores))
    scaling = Scaling(float(voxels.mean(dtype="f8")), float(voxels.std(dtype="f8")))
    facts = [predict_block(job, scaling, index) for index in job.grid.indices()]
    assert sum(fact["passes"] for fact in facts) == plan.num_passes
    return job, facts


def read(job: PredictJob, kind: str) -> np.ndarray:
    """Put the chunks of a product together."""
    store = next(p.store for p in job.products if p.kind == kind)
    lead = 1 if kind == "probabilities" else 0
    whole = np.empty(((job.num_classes,) if lead else ()) + job.grid.shape, store.dtype)
    for block in job.grid:
        where = (slice(None),) * lead + tuple(block.write)
        whole[where] = store.read_chunk((0,) * lead + block.index)
    return whole


@pytest.mark.parametrize("chunks", [SHAPE, (5, 8, 13)])
def test_the_guides_numbers_are_means_of_each_views_probabilities(
    models, noise, tmp_path, chunks
) -> None:
    specs, networks = models
    views = views_of(noise, networks[0], 8, tta=ROTATIONS)
    views += [v[[0, 2, 1]] for v in views_of(noise, networks[1], 12, tta=ROTATIONS)]
    expected = torch.stack([v.softmax(0) for v in views]).mean(0).numpy()
    kinds = {"classes": "u1", "probabilities": "f4"}
    job, facts = run(noise, specs, PRESETS["guide"], kinds, chunks, tmp_path)
    np.testing.assert_allclose(read(job, "probabilities"), expected, atol=2e-6)
    np.testing.assert_array_equal(read(job, "classes"), expected.argmax(0))
    assert sum(fact["patches"] for fact in facts) == sum(len(s.patches) for s in job.sweeps)
    logits = torch.stack(views).mean(0).argmax(0).numpy()
    assert (logits != expected.argmax(0)).any()


ALL = {"classes": "u1", "probabilities": "f4", "maximum": "f4", "variance": "f4"}


@pytest.mark.parametrize("name", ["octopi", "guide"])
def test_the_variance_is_that_of_the_winning_class_over_views_and_models(
    models, noise, tmp_path, name
) -> None:
    specs, networks = models
    tta = TTA[:4] if name == "octopi" else ROTATIONS
    views = views_of(noise, networks[0], 8, tta=tta)
    views += [v[[0, 2, 1]] for v in views_of(noise, networks[1], 12, tta=tta)]
    probabilities = torch.stack([v.softmax(0) for v in views]).double()
    logits = torch.stack(views).mean(0)
    mean = logits.softmax(0) if name == "octopi" else probabilities.mean(0)
    winner = mean.argmax(0)
    variance = probabilities.var(0, correction=0).gather(0, winner[None])[0]
    job, _ = run(noise, specs, PRESETS[name], ALL, (5, 8, 13), tmp_path)
    np.testing.assert_array_equal(read(job, "classes"), winner)
    np.testing.assert_allclose(read(job, "variance"), variance, atol=2e-6)
    np.testing.assert_allclose(read(job, "maximum"), mean.amax(0), atol=2e-6)
    np.testing.assert_array_equal(read(job, "maximum"), read(job, "probabilities").max(axis=0))
    # Other blocks give the same bits.
    (tmp_path / "again").mkdir()
    again, _ = run(noise, specs, PRESETS[name], ALL, (11, 6, 9), tmp_path / "again")
    for kind in ALL:
        np.testing.assert_array_equal(read(again, kind), read(job, kind))


def test_classes_do_not_change_where_the_variance_is_wanted(models, noise, tmp_path) -> None:
    specs, _ = models
    found = []
    for kinds in ({"classes": "u1", "probabilities": "f4"}, ALL):
        folder = tmp_path / str(len(kinds))
        folder.mkdir()
        job, _ = run(noise, specs, PRESETS["octopi"], kinds, (5, 12, 26), folder)
        found.append(read(job, "probabilities"))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["octopi", "guide"])
def test_a_block_without_its_neighbours_strips_has_the_same_bits(
    models, noise, tmp_path, name
) -> None:
    specs, _ = models
    kinds = {"classes": "u1", "probabilities": "f4"}
    job, _ = run(noise, specs, PRESETS[name], kinds, (11, 12, 13), tmp_path)
    before = read(job, "probabilities")
    scaling = Scaling(float(noise.mean(dtype="f8")), float(noise.std(dtype="f8")))
    last = (0, 1, 1)
    for spill in job.spills:
        spill.drop((0, 0, 0))
    assert PredictWork(job, scaling)(last)["repaired"]
    np.testing.assert_array_equal(read(job, "probabilities"), before)


OCTOPI = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi"


@pytest.mark.skipif(not OCTOPI.exists(), reason="shared data are not here")
@pytest.mark.parametrize(
    ("names", "expected", "corners"),
    [
        (("model_A",), "seg_TS_2_predict", [(0, 0, 0), (56, 118, 0), (20, 30, 118)]),
        (("model_A", "model_B"), "seg_TS_2_ensemble", [(0, 118, 118)]),
    ],
)
def test_regions_of_the_shared_sample_are_octopis(names, expected, corners) -> None:
    specs = read_ensemble(
        [OCTOPI / name / "model_config.yaml" for name in names],
        [OCTOPI / name / "best_model.pth" for name in names],
    )
    source = open_(f"{OCTOPI}/config.json:TS_2/wbp@10").source
    voxels = source.read(tuple(slice(0, n) for n in source.shape))
    scaling = Scaling(float(voxels.mean(dtype="f8")), float(voxels.std(dtype="f8")))
    settings = Settings.preset("octopi")
    sizes = settings.job(
        specs, shape=source.shape, dtype=source.dtype, storage_chunks=source.chunks
    )
    job = make_job(source, specs, settings, make_plan(sizes), Spill(""), ())
    labels = np.load(OCTOPI / "expected" / f"{expected}.npz")["labels"]
    for corner in corners:
        region = tuple(slice(a, a + 10) for a in corner)
        region = tuple(
            slice(s.start, min(s.stop, n)) for s, n in zip(region, source.shape, strict=True)
        )
        found = predict_region(job, scaling, region, {"classes": np.dtype("u1")})
        np.testing.assert_array_equal(found["classes"], labels[region])


def test_presets_are_known_by_name_and_their_settings_checked() -> None:
    assert Settings.preset("volproc") == Settings()
    assert PRESETS["octopi"].batch_size == 4
    assert Settings.preset("octopi", device="cpu").batch_size == 1
    with pytest.raises(ConfigError, match='no preset "octopus": did you mean "octopi"'):
        Settings.preset("octopus")
    with pytest.raises(ConfigError, match=r'tta_grid is "views"\. Choose one of patch, volume'):
        Settings(tta_grid="views")


def test_models_that_scale_voxels_otherwise_are_no_ensemble(models) -> None:
    (first, second), _ = models
    with pytest.raises(ModelError, match=r"normalization of .*b/best_model.pth is none"):
        as_models((first, replace(second, normalization="none")))
    with pytest.raises(ModelError, match="an ensemble needs a model, got none"):
        as_models(())
