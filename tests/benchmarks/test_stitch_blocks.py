"""The benchmark of stitching, in its tiny version."""

from collections.abc import Callable
from typing import Any


def test_the_tiny_case_gives_a_full_record_and_no_merges(
    measure: Callable[..., list[dict[str, Any]]],
) -> None:
    (record,) = measure("stitch_blocks", "--tiny", "--repeats", "1")
    assert record["case"]["name"] == "tiny-cells"
    assert record["num_blocks"] == 8
    assert set(record["ratio"]) == {"face_contact", "cellpose_rule"}
    quality = record["quality"]
    assert set(quality) == {"own", "oracle", "face_contact", "cellpose_rule"}
    assert quality["own"]["merged"] == 0
    assert quality["own"]["f1"] > 0.9
    assert quality["own"]["f1"] > quality["cellpose_rule"]["f1"] > quality["face_contact"]["f1"]
