"""What lies beside an output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import ResumeError
from volproc.workflows.record import (
    made_so,
    named_beside,
    read_record,
    record_path,
    versions,
    work_path,
    write_record,
)

MEMBER = "project/config.json:TS_1/predict:volproc/1@10"


@pytest.mark.parametrize(
    ("address", "record", "work", "beside"),
    [
        ("out/a.zarr", "out/a.zarr.json", "out/.a.zarr.work", "out/a_x.zarr"),
        ("out/a.b.mrc", "out/a.b.mrc.json", "out/.a.b.mrc.work", "out/a.b_x.zarr"),
        ("a.h5:/classes", "a.h5.json", ".a.h5.work", "a_x.zarr"),
        (
            MEMBER,
            "project/logs/TS_1_predict_volproc_1_10.json",
            "project/logs/.TS_1_predict_volproc_1_10.work",
            "project/logs/TS_1_predict_volproc_1_10_x.zarr",
        ),
    ],
)
def test_names_follow_the_output(address, record, work, beside) -> None:
    assert record_path(address) == Path(record)
    assert work_path(address) == Path(work)
    assert named_beside(address, "_x.zarr") == Path(beside)


def test_members_of_a_project_do_not_share_a_record() -> None:
    others = [MEMBER, MEMBER.replace("TS_1", "TS_2"), MEMBER.replace("/1@", "/2@")]
    assert len({record_path(a) for a in others}) == 3


def test_a_record_is_read_as_it_was_written(tmp_path) -> None:
    address = str(tmp_path / "a.zarr")
    facts = {"classes": {"background": 0}, "voxel_size_angstrom": (10.0, 10.0, 10.0)}
    path = write_record(address, "segment semantic", facts)
    found = read_record(address)
    assert found["made_by"] == "volproc segment semantic"
    assert found["classes"] == {"background": 0}
    assert found["voxel_size_angstrom"] == [10.0, 10.0, 10.0]
    assert json.loads(path.read_text()) == found
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr.json"]


def test_where_there_is_no_record_nothing_is_known(tmp_path) -> None:
    assert read_record(str(tmp_path / "a.zarr")) == {}


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff"])
def test_a_file_that_is_no_record_says_nothing(tmp_path, content) -> None:
    (tmp_path / "a.zarr.json").write_bytes(content.encode("latin-1"))
    assert read_record(str(tmp_path / "a.zarr")) == {}


def test_versions_name_what_results_depend_on() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert {"python", "volproc", "torch", "dask", "zarr", "copick"} <= set(found)
    assert "missing" not in found.values()


def test_an_output_is_known_by_its_record(tmp_path) -> None:
    address = str(tmp_path / "a.zarr")
    facts = {"input": "noise", "shape": (1, 2, 3), "chunks": [1]}
    wanted = {"input": "noise", "shape": (1, 2, 3)}
    assert not made_so(address, "segment semantic", wanted), "there is no record"
    write_record(address, "segment semantic", facts)
    assert made_so(address, "segment semantic", wanted)
    assert not made_so(address, "localize", wanted), "another workflow's"
    with pytest.raises(ResumeError, match=r"shape was \[1, 2, 3\], is \[4\]. Use the same"):
        made_so(address, "segment semantic", {"shape": (4,)})
    with pytest.raises(ResumeError, match="model was None, is 'x'"):
        made_so(address, "segment semantic", {**wanted, "model": "x"})


def test_points_have_a_record_too() -> None:
    assert record_path("out/a.csv") == Path("out/a.csv.json")
    assert record_path("a.star") == Path("a.star.json")
