"""Words of a command line, and the inputs that they stand for."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import AddressError, FormatError, MissingFileError, SeveralError
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.inputs import expand_inputs, names_many, read_list


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three volumes, a slice, and things that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for name in ("TS_10", "TS_2", ".TS_3", "deep/TS_4"):
        np.save(tmp_path / "data" / f"{name}.npy", np.zeros((3, 4, 5), np.float32))
    (tmp_path / "data" / "TS_2.npy.json").write_text("{}")
    (tmp_path / "data" / "notes.txt").write_text("none")
    return tmp_path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Three runs, of which two have a tomogram and one has it at two spacings."""
    path = create_project(
        tmp_path / "copick.json",
        objects=(ProjectObject("ribosome", 1, 130.0),),
        runs=["TS_1", "TS_2", "TS_10", "other"],
    )
    voxels = np.zeros((4, 5, 6), np.float32)
    for run in ("TS_2", "TS_10", "other"):
        add_tomogram(path, run, "wbp", voxels, voxel_size=10.0)
    add_tomogram(path, "other", "wbp", voxels, voxel_size=20.0)
    return path


def expand(*words: str, **options: object) -> list[str]:
    return list(expand_inputs(words, **options))


@pytest.mark.usefixtures("folder")
def test_a_pattern_takes_volumes_in_natural_order_and_nothing_else() -> None:
    assert expand("data/*") == ["data/TS_2.npy", "data/TS_10.npy"]
    assert expand("data/**/*.npy") == ["data/deep/TS_4.npy", "data/TS_2.npy", "data/TS_10.npy"]
    assert expand("data/TS_1*.npy", "a.mrc") == ["data/TS_10.npy", "a.mrc"]


@pytest.mark.usefixtures("folder")
def test_each_input_comes_once_however_often_it_is_named() -> None:
    assert expand("data/TS_2.npy", "data/*.npy", "./data/TS_10.npy") == [
        "data/TS_2.npy", "data/TS_10.npy"
    ]  # fmt: skip


def test_a_pattern_of_slices_is_one_volume(folder: Path) -> None:
    (folder / "stack").mkdir()
    for z in range(3):
        np.save(folder / "stack" / f"z_{z}.npy", np.zeros((4, 5), np.float32))
    assert expand("stack/z_*.npy") == ["stack/z_*.npy"]
    assert expand("stac[k]") == ["stack"], "a folder of slices is a volume"


def test_a_damaged_first_file_does_not_decide_what_a_pattern_means(folder: Path) -> None:
    (folder / "data" / "TS_0.npy").write_bytes(b"broken")
    assert expand("data/*.npy")[:2] == ["data/TS_0.npy", "data/TS_2.npy"]


def test_a_dataset_may_follow_a_pattern_of_containers(folder: Path) -> None:
    for name in "ba":
        (folder / f"{name}.h5").write_bytes(b"")
    assert expand("*.h5:/raw/x") == ["a.h5:/raw/x", "b.h5:/raw/x"]


def test_a_file_whose_name_has_signs_of_a_pattern_is_a_file(folder: Path) -> None:
    np.save(folder / "TS_[1].npy", np.zeros((3, 4, 5)))
    assert expand("TS_[1].npy") == ["TS_[1].npy"]
    assert not names_many("TS_[1].npy")


def test_a_list_names_one_input_a_line(folder: Path) -> None:
    (folder / "list.txt").write_bytes(
        b"\xef\xbb\xbf# tomograms\r\n\r\ndata/TS_2.npy  # the best\r\n c.json:TS_1/wbp@10\r\n"
        b"data/TS_1*.npy\n#data/no.npy\nodd#name.mrc"
    )
    assert expand("@list.txt") == [
        "data/TS_2.npy", "c.json:TS_1/wbp@10", "data/TS_10.npy", "odd#name.mrc"
    ]  # fmt: skip
    assert names_many("@list.txt")


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, MissingFileError, "does not exist"),
        (b"# nothing\n\n", FormatError, "names no input"),
        (b"\xff\xfe\x00a.mrc", FormatError, "cannot be read"),
        (b"@list.txt\n", FormatError, "names another list"),
    ],
)
def test_a_list_that_is_none_is_refused(
    folder: Path, content: bytes | None, error: type[Exception], said: str
) -> None:
    if content is not None:
        (folder / "list.txt").write_bytes(content)
    with pytest.raises(error, match=said):
        expand("@list.txt")


def test_a_file_with_the_sign_of_a_list_in_its_name_is_a_file(folder: Path) -> None:
    np.save(folder / "@a.npy", np.zeros((3, 4, 5)))
    assert expand("@a.npy") == ["@a.npy"]


def test_a_list_is_read_line_by_line(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mrc\n" * 3)
    lines = read_list("list.txt")
    assert next(lines) == "a.mrc"
    assert len(list(lines)) == 2


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("pattern", ["data/*.mrc", "nowhere/*.npy", "data/*.txt"])
def test_a_pattern_that_takes_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(MissingFileError, match=r"(nothing fits|none of which).*Check the path"):
        expand(pattern)


def test_runs_that_lack_a_tomogram_are_left_out_and_named(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = expand(f"{config}:TS_*/wbp@10")
    assert found == [f"{config}:TS_2/wbp@10", f"{config}:TS_10/wbp@10"]
    assert "1 runs of" in caplog.text
    assert "have no wbp@10: TS_1" in caplog.text


def test_runs_may_be_chosen_by_name(config: Path) -> None:
    word = f"{config}:*/wbp@10"
    assert expand(word, runs=["other", "TS_2"]) == [
        f"{config}:other/wbp@10", f"{config}:TS_2/wbp@10"
    ]  # fmt: skip
    assert expand(word, runs=["TS_1"]) == [f"{config}:TS_1/wbp@10"], "it fails later, by its name"
    with pytest.raises(AddressError, match='did you mean "TS_'):
        expand(word, runs=["TS_3"])
    with pytest.raises(AddressError, match="no input takes runs"):
        expand("a.mrc", runs=["TS_1"])


def test_runs_that_fit_nothing_are_refused(config: Path) -> None:
    with pytest.raises(AddressError, match=r'no run of .* fits "X_\*"'):
        expand(f"{config}:X_*/wbp@10")
    with pytest.raises(AddressError, match="has denoised@10, looked at TS_1"):
        expand(f"{config}:TS_*/denoised@10")
    with pytest.raises(SeveralError, match="several voxel spacings"):
        expand(f"{config}:*/wbp")
