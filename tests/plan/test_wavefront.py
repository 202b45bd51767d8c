"""How many workers the blocks of a prediction keep busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.plan import wavefront
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid, neighbours
from volproc.plan.wavefront import BLOCK_COST, BLOCKS_A_WORKER, speed_up

SIDES = st.tuples(*[st.integers(1, 3)] * 3)


@given(SIDES, st.sampled_from([0.0, 0.5]), st.integers(2, 5))
def test_the_wave_is_between_one_worker_and_all_and_more_do_not_harm(counts, overlap, num) -> None:
    shape = tuple(4 * n - 1 for n in counts)
    blocks, patches = ChunkGrid(shape, (4, 4, 4)), PatchGrid(shape, (3, 3, 3), overlap)
    ratio = speed_up([patches], blocks, num)
    assert 1 - 1e-9 <= ratio <= min(num, len(blocks)) + 1e-9
    # Without several workers, or where none waits, it is known.
    assert speed_up([patches], blocks, 1) == 1.0
    longest: dict[tuple[int, ...], float] = {}
    total = 0.0
    for index in blocks.indices():
        cost = BLOCK_COST + len(patches.owned(blocks[index].write))
        before = [longest[other] for other in neighbours([patches], blocks, index)[0]]
        longest[index] = cost + max(before, default=0.0)
        total += cost
    chain = max(longest.values())
    # Graham's bounds of any order in which nobody rests while something is ready.
    assert ratio <= total / chain + 1e-9
    assert ratio >= total / (total / num + chain * (1 - 1 / num)) - 1e-9


def test_a_plane_of_blocks_is_a_wave() -> None:
    shape = (1, 8, 12)
    blocks, patches = ChunkGrid(shape, (1, 4, 4)), PatchGrid(shape, (1, 4, 4), 0.5)
    assert [len(patches.owned(blocks[i].write)) for i in blocks.indices()] == [4, 4, 2, 2, 2, 1]
    # One alone, then two at a time, of which one waits for the other, and one alone.
    steps = [4, 4, 2, 1]
    expected = (15 + 6 * BLOCK_COST) / (sum(steps) + 4 * BLOCK_COST)
    assert speed_up([patches], blocks, 2) == pytest.approx(expected)
    assert speed_up([patches], blocks, 8) == pytest.approx(expected)


def test_blocks_that_only_one_of_several_grids_joins_wait_too() -> None:
    shape, blocks = (4, 4, 8), ChunkGrid((4, 4, 8), (4, 4, 4))
    apart, joined = PatchGrid(shape, (4, 4, 4), 0.0), PatchGrid(shape, (4, 4, 6), 0.5)
    assert speed_up([apart], blocks, 2) == 2.0
    assert speed_up([apart, joined], blocks, 2) == 1.0


def test_very_many_blocks_are_not_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavefront, "_costs", None)
    shape = (4, 4, 4 * 2 * BLOCKS_A_WORKER)
    assert speed_up([PatchGrid(shape, (4, 4, 4))], ChunkGrid(shape, (4, 4, 4)), 2) == 2.0
