"""Cellpose's own results from volproc's loading and calls, on the embedded network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cellpose import models
from cellpose.resnet_torch import CPnet

from volproc.core.errors import (
    ConfigError,
    MissingFileError,
    ModelError,
    NonFiniteError,
    ShapeError,
)
from volproc.models.cellpose_networks import load_cellpose, network_widths, where_fetched
from volproc.models.cellpose_slices import NORMALIZE, CellposeSettings, load_once, segment_slice
from volproc.phantoms.cells import CellSpec, make_cells

CPU = torch.device("cpu")
SPEC = CellSpec((2, 70, 90), seed=31, z_step=8.0, radius=(7.0, 10.0))


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.float32]:
    return make_cells(SPEC)[0]


@pytest.fixture(scope="module")
def network() -> models.CellposeModel:
    return load_once("phantom-nuclei", "cpu")


def test_a_slice_is_segmented_as_cellpose_does_it(
    network: models.CellposeModel, images: npt.NDArray[np.float32]
) -> None:
    found = segment_slice(network, images[0], CellposeSettings(diameter=18.0, flow_threshold=0.6))
    masks, flows, _ = network.eval(
        images[0],
        channels=[0, 0],
        diameter=18.0,
        flow_threshold=0.6,
        normalize={"norm3D": False},
    )
    assert masks.max() > 5
    assert (found.labels == masks).all()
    assert (found.flows == flows[1]).all()
    assert (found.probability == flows[2]).all()


def test_what_was_said_for_one_slice_does_not_stay(
    network: models.CellposeModel, images: npt.NDArray[np.float32]
) -> None:
    before = segment_slice(network, images[0], CellposeSettings())
    inverted = segment_slice(network, images[0], CellposeSettings(normalize={"invert": True}))
    network.eval(images[0], channels=[0, 0], normalize=True, invert=True)  # writes to its default
    after = segment_slice(network, images[0], CellposeSettings())
    assert (before.labels == after.labels).all()
    assert (inverted.probability != before.probability).any()
    assert models.normalize_default.keys() == NORMALIZE.keys()


def test_a_second_channel_is_taken(
    network: models.CellposeModel, images: npt.NDArray[np.float32]
) -> None:
    both = segment_slice(network, images, CellposeSettings())
    expected = network.eval(images, channels=[1, 2], channel_axis=0, normalize={"norm3D": False})
    assert (both.labels == expected[0]).all()


def test_a_file_of_the_usual_widths_is_loaded_as_cellpose_does(
    tmp_path: Path, images: npt.NDArray[np.float32]
) -> None:
    torch.manual_seed(3)
    network = CPnet([2, 32, 64, 128, 256], 3, sz=3)
    network.diam_labels.data[:] = 21.0
    network.save_model(tmp_path / "cells")
    ours = load_cellpose(tmp_path / "cells", CPU)
    theirs = models.CellposeModel(gpu=False, pretrained_model=str(tmp_path / "cells"))
    for model in (ours, theirs):
        assert float(model.diam_labels) == 21.0
    small = images[0][:40, :40]
    outputs = [
        model.eval(small, channels=[0, 0], compute_masks=False, normalize={"norm3D": False})[1]
        for model in (ours, theirs)
    ]
    np.testing.assert_allclose(outputs[0][2], outputs[1][2], atol=1e-4)
    assert network_widths(network.state_dict()) == (2, 32, 64, 128, 256)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = CPnet([2, 4, 8, 16, 32], 3, sz=3).state_dict()
    path = tmp_path / "weights"
    for broken, text in (
        ({k: v for k, v in state.items() if "up_2" not in k}, "does not fit"),
        ({"a": torch.zeros(1)}, "no network of Cellpose"),
        (state | {"output.2.bias": torch.full((3,), torch.nan)}, "no numbers"),
    ):
        torch.save(broken, path)
        with pytest.raises(ModelError, match=text):
            load_cellpose(path, CPU)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="can be read"):
        load_cellpose(path, CPU)


def test_unknown_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match='did you mean "cyto3"'):
        load_cellpose("cyto33", CPU)
    monkeypatch.setattr(models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr(models, "_MODEL_URL", "http://127.0.0.1:9")
    with pytest.raises(MissingFileError, match="could not be fetched") as caught:
        load_cellpose("cyto3", CPU)
    assert str(where_fetched("cyto3")) in str(caught.value)


def test_bad_settings_and_slices_are_refused(network: models.CellposeModel) -> None:
    for wrong, text in (
        ({"diameter": 0.0}, "diameter"),
        ({"flow_threshold": 4.0}, "between 0 and 3"),
        ({"cellprob_threshold": -7.0}, "between -6 and 6"),
        ({"batch_size": 0}, "batch_size"),
        ({"normalize": {"lowhi": (0, 1)}}, 'did you mean "lowhigh"'),
    ):
        with pytest.raises(ConfigError, match=text):
            CellposeSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="one channel of a colour"):
        segment_slice(network, np.zeros((4, 9, 9)), CellposeSettings())
    with pytest.raises(ShapeError, match="4 pixels"):
        segment_slice(network, np.zeros((3, 9)), CellposeSettings())
    image = np.zeros((9, 9))
    image[2, 3] = np.nan
    with pytest.raises(NonFiniteError, match="1 of 81"):
        segment_slice(network, image, CellposeSettings())
