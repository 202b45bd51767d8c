"""The first pass."""

from __future__ import annotations

from volproc.models.loading import load_model, read_spec
from volproc.models.warming import warm_up


def test_the_shape_is_that_of_later_batches() -> None:
    shapes = []
    model = load_model(read_spec("phantom-unet"), "cpu")
    hook = model.network.register_forward_pre_hook(lambda _, x: shapes.append(tuple(x[0].shape)))
    warm_up(model, batch_size=2)
    hook.remove()
    assert shapes == [(2, 1, *model.spec.patch)]
