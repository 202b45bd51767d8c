"""Names of outputs: where each goes, and that no two meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from volproc.core.errors import AddressError, ConfigError, ExistsError
from volproc.workflows.dataset_outputs import (
    fill_template,
    input_name,
    make_folders,
    make_template,
    refuse_collisions,
    refuse_existing_outputs,
)

USUAL = "{name}_classes.zarr"


@pytest.mark.parametrize(
    ("output", "is_many", "template"),
    [
        (None, True, USUAL),
        (None, False, USUAL),
        ("maps/", False, f"maps/{USUAL}"),
        ("maps", True, f"maps/{USUAL}"),
        ("maps", False, "maps"),
        ("there", False, f"there/{USUAL}"),
        ("v1.2", False, f"v1.2/{USUAL}"),
        ("/", True, f"/{USUAL}"),
        ("out/{folder}/{name}.mrc", True, "out/{folder}/{name}.mrc"),
        ("store.zarr", False, "store.zarr"),
        ("a.h5:/classes", False, "a.h5:/classes"),
        ("c.json:*/predict:me/1@10", True, "c.json:{name}/predict:me/1@10"),
        ("c.json:*/:me/1", False, "c.json:{name}/:me/1"),
    ],
)
def test_what_was_asked_for_becomes_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None, is_many: bool,
    template: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for folder in ("there", "v1.2", "store.zarr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "store.zarr" / ".zgroup").write_text("{}")
    assert make_template(output, usual=USUAL, is_many=is_many) == template


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("a.mrc", r'one output.*a folder, as a/.*"{name}_a.mrc"'),
        ("picks.csv", "one output"),
        ("a.h5:/classes", "one output"),
        ("c.json:TS_1/predict:me/1@10", "one output"),
        ("out/{nam}.mrc", 'did you mean "name"'),
        ("out/{}.mrc", "known are: folder, name"),
    ],
)
def test_one_place_for_many_is_refused(output: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_template(output, usual=USUAL, is_many=True)


def test_a_template_takes_name_and_folder_of_the_input() -> None:
    fill = fill_template
    assert fill("o/{folder}-{name}.zarr", "runs/TS_1/tomo.rec.mrc") == "o/TS_1-tomo.zarr"
    assert fill("c.json:{name}/predict:me/1", "c.json:TS_2/wbp@10") == "c.json:TS_2/predict:me/1"
    assert fill("{folder}.mrc", "/data/project/c.json:TS_2/wbp") == "project.mrc"
    assert fill("same.mrc", "whatever") == "same.mrc"
    assert fill("{name}.csv", "a_classes.zarr", name_of=lambda a: "b") == "b.csv"


@pytest.mark.parametrize("address", ["c.json:../wbp@10", "c.json:./wbp@10", "c.json:a\\b/wbp"])
def test_a_name_does_not_lead_out_of_the_folder(address: str) -> None:
    with pytest.raises(AddressError, match="cannot be part of an output's name"):
        fill_template("out/{name}/classes.zarr", address)


def test_names_of_inputs_are_those_of_their_files() -> None:
    assert input_name("a/TS_1.ome.zarr") == "TS_1"
    assert input_name(".mrc") == "volume"


def test_collisions_name_both_inputs_and_count_the_others() -> None:
    refuse_collisions([("a", "x/1.zarr"), ("b", "x/2.zarr"), ("a", "x/1.zarr")])
    placed = [("a", "x/1.zarr"), ("b", "./x/1.zarr"), ("i/c", "x/2.zarr"), ("j/c", "x/2.zarr")]
    with pytest.raises(ConfigError, match=r"a and b would both be .*; 1 more like these.*{folder}"):
        refuse_collisions(placed)


def test_no_template_tells_inputs_of_one_folder_apart() -> None:
    placed = [("i/a.mrc", "x/a.zarr"), ("i/a.zarr", "x/a.zarr")]
    with pytest.raises(ConfigError, match=r"Leave one of them out, or give each an output"):
        refuse_collisions(placed)


def test_outputs_that_exist_are_named_a_few_and_counted() -> None:
    refuse_existing_outputs([])
    with pytest.raises(ExistsError, match=r"^a\.zarr exists\..*--resume"):
        refuse_existing_outputs(["a.zarr"])
    with pytest.raises(ExistsError, match=r"^7 outputs exist: 0, 1, 2, 3, 4 and 2 more\."):
        refuse_existing_outputs([str(n) for n in range(7)])


def test_folders_of_outputs_are_made(tmp_path: Path) -> None:
    make_folders(str(tmp_path / "a/b/c.zarr"), "", str(tmp_path / "d/e.h5:/raw"), "c.json:TS/x")
    assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "d").is_dir()
    assert len(list(tmp_path.iterdir())) == 2
