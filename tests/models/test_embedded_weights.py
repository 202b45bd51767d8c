"""The weights that come with the package: what they are, and that they find particles."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from volproc.core.points import Points
from volproc.metrics.points import combine_scores, score_points
from volproc.models.loading import DEFAULT_MODEL, LoadedModel, load_model, read_spec
from volproc.models.networks import minimum_multiple
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec

with warnings.catch_warnings():
    # MONAI imports modules that warn of their own deprecations.
    warnings.simplefilter("ignore")
    from monai.inferers import sliding_window_inference

UNSEEN = (3_000_001, 3_000_002)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(read_spec(DEFAULT_MODEL), "cpu")


def test_the_embedded_model_is_small_and_says_what_it_is(model: LoadedModel) -> None:
    spec = model.spec
    assert Path(spec.weights).stat().st_size < 2_000_000
    assert sum(p.numel() for p in model.network.parameters()) < 500_000
    assert spec.voxel_size == 10.0
    assert spec.normalization == "zscore"
    phantom = PhantomSpec((8, 8, 8))
    assert (spec.classes, spec.radii) == (phantom.class_names, phantom.radii)
    multiple = minimum_multiple(spec.architecture, spec.params)
    assert all(p % m == 0 for p, m in zip(spec.patch, multiple, strict=True))


def picks(model: LoadedModel, phantom: Phantom) -> Points:
    """Classes, connected components, those of a plausible size, their centroids."""
    tomogram = phantom.read()
    batch = torch.from_numpy((tomogram - tomogram.mean()) / tomogram.std())[None, None]
    with torch.no_grad():
        logits = sliding_window_inference(
            batch, model.spec.patch, 2, model, overlap=0.25, mode="gaussian", sigma_scale=0.125
        )
    classes = logits[0].argmax(0).numpy()
    found, names = [], []
    for name, radius in phantom.radii.items():
        value = model.spec.classes.index(name)
        labels, count = ndimage.label(classes == value)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        least = 4 / 3 * np.pi * (0.4 * radius / phantom.spec.voxel_size) ** 3
        kept = np.flatnonzero(sizes >= least) + 1
        found += ndimage.center_of_mass(labels > 0, labels, kept)
        names += [name] * len(kept)
    return Points.from_zyx(
        np.array(found).reshape(-1, 3),
        class_name=names,
        voxel_size=phantom.voxel_size,
        shape=phantom.shape,
    )


@pytest.mark.parametrize(("noise", "least"), [(0.5, 0.92), (1.0, 0.85)])
def test_the_embedded_model_finds_the_particles_of_unseen_phantoms(
    model: LoadedModel, noise: float, least: float
) -> None:
    tables = []
    for seed in UNSEEN:
        phantom = Phantom(PhantomSpec((64, 96, 96), seed=seed, noise=noise))
        found = picks(model, phantom)
        tables.append(score_points(phantom.points(), found, radii=phantom.radii))
    overall = combine_scores(tables).set_index("class_name").loc["overall"]
    assert overall["num_truth"] > 30
    assert overall["f1"] >= least


def test_the_embedded_model_finds_nothing_in_noise(model: LoadedModel) -> None:
    noise = Phantom(PhantomSpec((48, 48, 48), seed=UNSEEN[0])).unit_noise()
    classes = model(torch.from_numpy(noise / noise.std())[None, None]).argmax(1)
    assert (classes > 0).float().mean() < 0.02


def test_the_embedded_model_takes_what_rotations_about_z_give(model: LoadedModel) -> None:
    phantom = Phantom(PhantomSpec((48, 48, 48), seed=UNSEEN[0], noise=0.5, membranes=0.0))
    tomogram, truth = phantom.read(), phantom.truth_classes()
    batch = torch.from_numpy((tomogram - tomogram.mean()) / tomogram.std())[None, None]
    for turns, flip in product((0, 1), (False, True)):
        view = torch.rot90(batch.flip(3) if flip else batch, turns, (3, 4))
        found = torch.rot90(model(view).argmax(1), -turns, (2, 3))
        found = (found.flip(2) if flip else found)[0].numpy()
        overlap = ((found > 0) & (truth > 0)).sum() * 2 / ((found > 0).sum() + (truth > 0).sum())
        assert overlap > 0.7
