"""The simulation of very many blocks, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_a_tiny_run_counts_blocks_markers_and_memory(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    (record,) = measure("scale_simulation", "--tiny")
    assert record["num_blocks"] >= 60
    assert record["ledger_files"] == record["num_blocks"]
    assert record["graph_tasks"] > record["num_blocks"]
    assert record["graph_blocks"] == 8
    assert len(record["rss_mb"]) > 10
    for name in ("blocks_per_s", "hours_for_million", "done_s", "resumed_s", "ratio"):
        assert record[name] > 0
