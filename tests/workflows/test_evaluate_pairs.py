"""Which truth belongs to which prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from volproc.core.errors import AddressError, ConfigError, SeveralError
from volproc.core.points import Points
from volproc.io.point_inputs import PointFormat, PointReader
from volproc.io.points import write_points
from volproc.workflows.evaluate_pairs import Pair, find_pairs, pair_points

HEAD = "tomo,z,y,x,z_angstrom,y_angstrom,x_angstrom\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("picks", "truth", "a", "b"):
        (tmp_path / folder).mkdir()
    one = Points.from_zyx([[1, 2, 3]], class_name="ball", voxel_size=(1.0,) * 3, shape=())
    for place in ("picks/TS_1_picks", "picks/TS_2_picks", "truth/TS_1", "a/TS_1", "b/TS_1"):
        write_points(one, f"{place}.csv")
    return tmp_path


def table(path: str, *names: str) -> str:
    Path(path).write_text(HEAD + "".join(f"{name},1,2,3,1,2,3\n" for name in names))
    return path


def find(
    predicted: str | Sequence[str], truth: str, runs: Sequence[str] = ()
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Sides by name, as text, and what was said."""
    words = [predicted] if isinstance(predicted, str) else predicted
    notes: list[str] = []
    readers = PointReader(PointFormat()), PointReader(PointFormat())
    pairs = find_pairs(
        words, truth, readers, runs=runs, observe=lambda event: notes.append(event.text)
    )
    return {p.name: (str(p.predicted or ""), str(p.truth or p.problem)) for p in pairs}, notes


@pytest.mark.usefixtures("here")
def test_a_template_is_filled_with_the_name_of_the_volume() -> None:
    found, _ = find("picks", "truth/{name}.csv")
    assert found == {
        "TS_1": ("picks/TS_1_picks.csv", "truth/TS_1.csv"),
        "TS_2": ("picks/TS_2_picks.csv", "truth/TS_2.csv"),
    }
    found, _ = find(table("all.csv", "TS_1.mrc", "TS_2.mrc"), "truth/{name}.csv")
    assert found["TS_1.mrc"] == ("all.csv (TS_1.mrc)", "truth/TS_1.csv")
    found, _ = find("picks/TS_1_picks.csv", "c.json:TS_1/:people/0")
    assert found == {"TS_1": ("picks/TS_1_picks.csv", "c.json:TS_1/:people/0")}
    with pytest.raises(ConfigError, match=r'"\{run\}"'):
        find("picks", "truth/{run}.csv")


@pytest.mark.usefixtures("here")
def test_files_are_paired_by_name_and_two_of_one_name_are_refused() -> None:
    found, _ = find("picks", "truth")
    assert found["TS_1"][1] == "truth/TS_1.csv"
    assert "truth has no truth of TS_2; did you mean" in found["TS_2"][1]
    found, _ = find(["a/TS_1.csv", "b/TS_1.csv"], "truth")
    assert list(found) == ["a/TS_1.csv", "b/TS_1.csv"], "one name twice: the addresses tell"
    with pytest.raises(ConfigError, match=r"a/TS_1\.csv and b/TS_1\.csv are both truths of TS_1"):
        find("picks", "[ab]/*.csv")


@pytest.mark.usefixtures("here")
def test_one_truth_serves_one_volume() -> None:
    with pytest.raises(ConfigError, match="is one truth, and there are 2 volumes"):
        find("picks", "truth/TS_1.csv")
    with pytest.raises(ConfigError, match="is one truth"):
        find("picks", "c.json:TS_1/:people/0")


@pytest.mark.usefixtures("here")
def test_a_table_of_volumes_is_looked_up_by_name_file_name_or_stem() -> None:
    truth = table("truth.csv", "TS_1", "frames/TS_2.tomostar", "TS_3")
    found, notes = find("picks", truth)
    assert found == {
        "TS_1": ("picks/TS_1_picks.csv", "truth.csv (TS_1)"),
        "TS_2": ("picks/TS_2_picks.csv", "truth.csv (frames/TS_2.tomostar)"),
    }
    assert notes == [], "who gives files for two volumes asks for these two"
    found, _ = find(table("x.csv", "TS_3"), truth)
    assert found == {"x": ("x.csv", "truth.csv (TS_3)")}


@pytest.mark.usefixtures("here")
def test_a_volume_that_a_table_of_predictions_lacks_is_missed() -> None:
    truth = table("truth.csv", "TS_1", "TS_2", "TS_3")
    picks = table("picks.csv", "TS_1", "TS_2", "TS_9")
    found, notes = find(picks, truth)
    assert found == {
        "TS_1": ("picks.csv (TS_1)", "truth.csv (TS_1)"),
        "TS_2": ("picks.csv (TS_2)", "truth.csv (TS_2)"),
        "TS_3": ("", "truth.csv (TS_3)"),
    }
    assert notes == [
        "left out, since there is no truth: TS_9", "nothing is predicted, all is missed: TS_3"
    ]  # fmt: skip
    found, _ = find(picks, truth, runs=["TS_2", "TS_3", "TS_9"])
    assert list(found) == ["TS_2", "TS_9", "TS_3"]
    assert "has no truth of TS_9" in found["TS_9"][1], "what was asked for is not left out"
    with pytest.raises(AddressError, match="no prediction is of TS_7; did you mean"):
        find("picks", "truth/{name}.csv", runs=["TS_1", "TS_7"])
    with pytest.raises(AddressError, match="no truth for any of A, B"):
        find(table("foreign.csv", "A", "B"), truth)


@pytest.mark.usefixtures("here")
def test_a_damaged_table_is_kept_for_its_own_error() -> None:
    Path("picks/TS_2_picks.csv").write_bytes(b"")
    found, _ = find("picks", "truth/{name}.csv")
    assert list(found) == ["TS_1", "TS_2"]


def test_sequences_are_paired_by_their_order() -> None:
    def names(pairs: list[Pair] | None) -> list[tuple[str, str, str]]:
        return [(p.name, str(p.predicted), str(p.truth)) for p in pairs or []]

    assert names(pair_points(["b.csv", "a.csv"], ["x.csv", "y.csv"])) == [
        ("b", "b.csv", "x.csv"), ("a", "a.csv", "y.csv")
    ]  # fmt: skip
    one = Points.from_zyx([], class_name="", voxel_size=(1.0,) * 3, shape=(), name="TS_1")
    assert names(pair_points([one, one], ["x.csv", one])) == [
        ("points #1", "points", "x.csv"), ("points #2", "points", "points")
    ]  # fmt: skip
    assert pair_points(["a.csv"], "truth.csv") is None
    for predicted, truth in ((["a.csv"], ["x.csv", "y.csv"]), ([one, one], "x.csv")):
        with pytest.raises(ConfigError, match="do not make pairs"):
            pair_points(predicted, truth)
    with pytest.raises(SeveralError, match="is a pattern of runs"):
        pair_points(["c.json:*/:me/1"], ["x.csv"])
