"""Chunks as regions."""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from volproc.graph.chunks import iterate_chunks

CUTS = ((2, 3), (7,), (5, 1, 5))


def test_chunks_tile_the_array_in_raster_order() -> None:
    seen = np.zeros((5, 7, 11), int)
    chunks = list(iterate_chunks(CUTS))
    for chunk in chunks:
        seen[chunk.region] += 1
        assert chunk.offset == tuple(map(attrgetter("start"), chunk.region))
    assert (seen == 1).all()
    assert [c.index for c in chunks] == sorted(c.index for c in chunks)
