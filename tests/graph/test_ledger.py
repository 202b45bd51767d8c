"""Markers: written last, believed only if they are whole and of this run."""

from __future__ import annotations

import json

import pytest

from volproc.core.errors import ResumeError
from volproc.graph.ledger import RUN_FILE, Ledger, fingerprint, work_folder

DESCRIPTION = {"overlap": 0.5, "shape": (5, 7, 11), "model": "abc"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out" / ".classes.zarr.work"


@pytest.fixture
def ledger(folder) -> Ledger:
    return Ledger.begin(folder, DESCRIPTION)


def test_finished_blocks_are_known_again(ledger: Ledger, folder) -> None:
    for index in ((0, 0, 0), (1, 10, 2)):
        ledger.commit("predict", index, {"time_s": 1.5})
    ledger.commit("label", (3, 3), {})
    again = Ledger.begin(folder, DESCRIPTION)
    assert again.done("predict") == {(0, 0, 0), (1, 10, 2)}
    assert again.done("label") == {(3, 3)}
    assert again.done("measure") == set()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", '{"facts": {}}', '{"fingerprint": "other"}', "\x00\x00\x00", "\xff\xfe"],
)
def test_a_damaged_marker_or_one_of_another_run_counts_for_nothing(
    ledger: Ledger, folder, content
) -> None:
    ledger.commit("predict", (0, 0, 0), {})
    ledger.commit("predict", (0, 0, 1), {})
    (marker,) = folder.glob("predict/*/0.0.1.json")
    marker.write_bytes(content.encode("latin-1"))
    assert ledger.done("predict") == {(0, 0, 0)}


def test_other_files_are_no_markers(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0), {})
    valid = next(folder.glob("predict/*/0.0.json")).read_text()
    for name in ("._0.1.json", "notes.json", ".0.1.json.77.tmp", "0.1.json~"):
        (folder / "predict" / "0" / name).write_text(valid)
    assert ledger.done("predict") == {(0, 0)}


def test_a_marker_keeps_its_facts(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0), {"passes": 4})
    (marker,) = folder.glob("predict/*/*.json")
    assert json.loads(marker.read_text()) == {"fingerprint": ledger.mark, "facts": {"passes": 4}}


def test_another_description_is_refused_and_says_what_differs(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0), {})
    changed = DESCRIPTION | {"overlap": 0.25, "seed": 3}
    with pytest.raises(
        ResumeError, match=r"overlap was 0.5, is 0.25; seed was None, is 3.*--overwrite"
    ):
        Ledger.begin(folder, changed)
    assert Ledger.begin(folder, DESCRIPTION).done("predict") == {(0, 0)}


def test_an_unfinished_run_is_thrown_away_where_asked(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0), {})
    (folder / "spill").mkdir()
    again = Ledger.begin(folder, DESCRIPTION | {"overlap": 0.1}, restart=True)
    assert again.done("predict") == set()
    assert [p.name for p in folder.iterdir()] == [RUN_FILE]


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json"])
def test_a_damaged_run_file_is_refused_with_the_cure(ledger: Ledger, folder, content) -> None:
    (folder / RUN_FILE).write_text(content)
    with pytest.raises(ResumeError, match=r"run\.json.*damaged.*--overwrite"):
        Ledger.begin(folder, DESCRIPTION)
    assert Ledger.begin(folder, DESCRIPTION, restart=True).done("predict") == set()


def test_tuples_and_lists_are_the_same_description(ledger: Ledger, folder) -> None:
    assert Ledger.begin(folder, DESCRIPTION | {"shape": [5, 7, 11]}).mark == ledger.mark


def test_every_part_of_a_description_matters_and_its_order_does_not() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len({fingerprint(d) for d in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1})}) == 4


def test_removing_leaves_nothing(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0), {})
    ledger.remove()
    assert not folder.exists()


def test_a_work_folder_is_hidden_beside_its_output(tmp_path) -> None:
    assert work_folder(tmp_path / "a.zarr") == tmp_path / ".a.zarr.work"


def test_a_block_is_not_marked_when_its_run_is_over(ledger: Ledger, folder) -> None:
    ledger.commit("predict", (0, 0, 0), {})
    ledger.remove()
    with pytest.raises(ResumeError, match=r"is over, so block \(0, 0, 1\) of predict"):
        ledger.commit("predict", (0, 0, 1), {})
    assert not folder.exists()


def test_a_marker_is_taken_away_alone(ledger: Ledger) -> None:
    for index in ((0, 0, 0), (1, 0, 0), (1, 2, 0)):
        ledger.commit("predict", index, {"time_s": index[1]})
    assert dict(ledger.finished("predict", 1)) == {
        (1, 0, 0): {"time_s": 0},
        (1, 2, 0): {"time_s": 2},
    }
    for _ in range(2):
        ledger.revoke("predict", (1, 0, 0))
    assert ledger.done("predict") == {(0, 0, 0), (1, 2, 0)}
    assert ledger.result("predict", (1, 0, 0)) is None
