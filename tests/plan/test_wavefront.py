"""How many workers the blocks of a prediction keep busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.plan import wavefront
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid, neighbours
from volproc.plan.wavefront import BLOCK_COST, MOST_PLAYED, run_time

SIDES = st.tuples(*[st.integers(1, 3)] * 3)


@given(SIDES, st.sampled_from([0.0, 0.5]), st.integers(2, 5))
def test_a_run_is_as_long_as_its_longest_chain_or_its_workers_make_it(counts, overlap, num) -> None:
    shape = tuple(4 * n - 1 for n in counts)
    blocks, patches = ChunkGrid(shape, (4, 4, 4)), PatchGrid(shape, (3, 3, 3), overlap)
    time = run_time([patches], blocks, num)
    longest: dict[tuple[int, ...], float] = {}
    total = 0.0
    for index in blocks.indices():
        cost = BLOCK_COST + len(patches.owned(blocks[index].write))
        before = [longest[other] for other in neighbours([patches], blocks, index)[0]]
        longest[index] = cost + max(before, default=0.0)
        total += cost
    chain = max(longest.values())
    # Graham's bounds of any order in which nobody rests while something is ready.
    assert max(chain, total / num) - 1e-9 <= time <= total / num + chain * (1 - 1 / num) + 1e-9
    assert run_time([patches], blocks, 1) == pytest.approx(total)


def test_a_plane_of_blocks_is_a_wave() -> None:
    shape = (1, 8, 12)
    blocks, patches = ChunkGrid(shape, (1, 4, 4)), PatchGrid(shape, (1, 4, 4), 0.5)
    assert [len(patches.owned(blocks[i].write)) for i in blocks.indices()] == [4, 4, 2, 2, 2, 1]
    # One alone, then two at a time, of which one waits for the other, and one alone.
    steps = [4, 4, 2, 1]
    expected = sum(steps) + 4 * BLOCK_COST
    assert run_time([patches], blocks, 2) == pytest.approx(expected)
    assert run_time([patches], blocks, 8) == pytest.approx(expected)


def test_blocks_that_only_one_of_several_grids_joins_wait_too() -> None:
    shape, blocks = (4, 4, 8), ChunkGrid((4, 4, 8), (4, 4, 4))
    apart, joined = PatchGrid(shape, (4, 4, 4), 0.0), PatchGrid(shape, (4, 4, 6), 0.5)
    assert run_time([apart], blocks, 2) == run_time([apart], blocks, 1) / 2
    assert run_time([apart, joined], blocks, 2) == run_time([apart, joined], blocks, 1)


def test_very_many_blocks_are_not_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavefront, "_costs", None)
    for shape, num_workers, speed_up in (
        ((4, 4, 4 * MOST_PLAYED + 4), 2, 1.0),  # a row, one after the other
        ((80, 80, 80), 2, 2.0),
        ((80, 80, 80), 1000, 8000 / 58),  # from corner to corner
    ):
        blocks, patches = ChunkGrid(shape, (4, 4, 4)), PatchGrid(shape, (4, 4, 4))
        alone = run_time([patches], blocks, 1)
        assert run_time([patches], blocks, num_workers) == pytest.approx(alone / speed_up)
