"""Batches on their way to a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volproc.models.staging import NUM_PINNED, Staging

SHAPE = (1, 3, 4, 5)


def batches(sizes: list[int]) -> list[list[np.ndarray]]:
    generator = np.random.default_rng(1)
    return [[generator.random(SHAPE, np.float32) + 1 for _ in range(n)] for n in sizes]


def filled_up(patches: list[np.ndarray], size: int) -> np.ndarray:
    return np.stack([*patches, *[np.zeros(SHAPE, np.float32)] * (size - len(patches))])


def test_what_an_earlier_batch_left_is_gone() -> None:
    staging = Staging(3, torch.device("cpu"))
    for patches in batches([3, 1, 2]):
        before = [patch.copy() for patch in patches]
        np.testing.assert_array_equal(staging.send(patches).numpy(), filled_up(patches, 3))
        np.testing.assert_array_equal(patches, before)


def test_a_cpu_needs_one_buffer_only() -> None:
    staging = Staging(2, torch.device("cpu"))
    places = {staging.send(patches).data_ptr() for patches in batches([2, 2, 1])}
    assert len(places) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_each_batch_whole_from_two_pinned_buffers() -> None:
    device = torch.device("cuda")
    staging = Staging(2, device)
    given = batches([2] * 40 + [1])
    busy = torch.ones((4000, 4000), device=device)
    found = []
    for patches in given:
        busy = busy @ busy * 1e-5  # the device is late: buffers are filled while it works
        found.append(staging.send(patches))
    assert all(buffer.is_pinned() for buffer in staging._buffers)
    assert len(staging._buffers) == NUM_PINNED
    for batch, patches in zip(found, given, strict=True):
        np.testing.assert_array_equal(batch.cpu().numpy(), filled_up(patches, 2))
