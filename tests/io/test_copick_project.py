from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import copick
import dask.array as da
import numpy as np
import pytest

from volproc.core.errors import (
    AddressError,
    ConfigError,
    ExistsError,
    MissingFileError,
    VolprocError,
)
from volproc.io.copick_address import CopickAddress, is_copick, parse_copick
from volproc.io.copick_config import open_project
from volproc.io.copick_project import (
    ProjectObject,
    add_tomogram,
    create_project,
    list_runs,
    project_objects,
)
from volproc.io.copick_volume import CopickSink
from volproc.io.open import open_

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="shared data are not here")

OBJECTS = (
    ProjectObject("ribosome", 1, 130.0),
    ProjectObject("apo-ferritin", 2, 60.0, color=(1, 2, 3, 255)),
    ProjectObject("membrane", 3, is_particle=False),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return create_project(tmp_path / "copick.json", objects=OBJECTS, runs=["TS_1", "TS_2"])


@pytest.mark.parametrize(
    "address",
    [
        CopickAddress(Path("a.json"), "TS_1", "wbp", voxel=13.48),
        CopickAddress(Path("p/a.json"), "TS_1", "wbp"),
        CopickAddress(Path("a.json"), "TS_1", "predict", "octopi", "1", 10.0),
        CopickAddress(Path("a.json"), "TS_1", "", "octopi", "1"),
        CopickAddress(Path("a.json"), "TS_1", ""),
        CopickAddress(Path("a.json"), "", ""),
    ],
)
def test_an_address_is_read_as_it_is_written(address: CopickAddress) -> None:
    assert parse_copick(str(address)) == address
    assert is_copick(str(address))


@pytest.mark.parametrize(
    "rest", ["/wbp@10", "TS/wbp@x", "TS/wbp@-1", "TS/@10", "TS/a:b@10", "TS/a:/1", "TS/a/b@10"]
)
def test_a_malformed_address_is_refused_with_the_right_form(rest: str) -> None:
    with pytest.raises(AddressError, match="RUN/TOMOGRAM@VOXEL"):
        parse_copick(f"config.json:{rest}")


@pytest.mark.parametrize("address", ["a.mrc", "a.json.gz", "json", "a.h5:/b", "folder/*.tif"])
def test_other_addresses_are_no_copick(address: str) -> None:
    assert not is_copick(address)


def test_logging_stays_as_the_program_set_it_up(config: Path, tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "logging.basicConfig(filename=sys.argv[2], level=logging.WARNING)\n"
        "before = list(logging.getLogger().handlers)\n"
        "from volproc.io.copick_config import open_project\n"
        "open_project(sys.argv[1])\n"
        "root = logging.getLogger()\n"
        "assert root.handlers == before and root.level == logging.WARNING\n"
        "logging.getLogger('other').info('talk')\n"
        "logging.getLogger('other').warning('still here')\n"
    )
    log = tmp_path / "log.txt"
    words = [sys.executable, "-c", code, str(config), str(log)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert log.read_text() == "WARNING:other:still here\n"


def test_copick_reads_a_project_that_was_made(config: Path, tmp_path: Path, monkeypatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    root = copick.from_file(str(config))
    assert [run.name for run in root.runs] == ["TS_1", "TS_2"]
    found = {o.name: (o.label, o.radius, o.is_particle) for o in root.pickable_objects}
    assert found == {
        "ribosome": (1, 130.0, True),
        "apo-ferritin": (2, 60.0, True),
        "membrane": (3, None, False),
    }
    assert root.get_object("apo-ferritin").color == (1, 2, 3, 255)


def test_objects_are_read_back(config: Path) -> None:
    found = project_objects(config)
    assert list(found) == ["ribosome", "apo-ferritin", "membrane"]
    assert found["apo-ferritin"] == OBJECTS[1]
    assert (found["membrane"].label, found["membrane"].is_particle) == (3, False)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([ProjectObject("a", 1), ProjectObject("a", 2)], "name a"),
        ([ProjectObject("a", 1), ProjectObject("b", 1)], "label 1"),
        ([ProjectObject("a", 0)], "0 is background"),
        ([ProjectObject("apo_ferritin", 1)], "'apo-ferritin'"),
    ],
)
def test_objects_that_copick_cannot_tell_apart_are_refused(tmp_path, objects, message) -> None:
    with pytest.raises(VolprocError, match=message):
        create_project(tmp_path / "copick.json", objects=objects, runs=["TS_1"])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_project_is_kept_unless_asked(config: Path) -> None:
    before = config.read_bytes()
    with pytest.raises(ExistsError, match="overwrite"):
        create_project(config, objects=OBJECTS[:1])
    assert config.read_bytes() == before
    create_project(config, objects=OBJECTS[:1], overwrite=True)
    assert list(project_objects(config)) == ["ribosome"]


def test_runs_are_listed_by_what_they_hold(config: Path) -> None:
    voxels = np.zeros((5, 7, 11), np.float32)
    add_tomogram(config, "TS_2", "wbp", voxels, voxel_size=10.0)
    add_tomogram(config, "TS_3", "denoised", voxels, voxel_size=13.48)
    assert list_runs(config) == ["TS_1", "TS_2", "TS_3"]
    assert list_runs(config, tomogram="wbp") == ["TS_2"]
    assert list_runs(config, voxel_size=13.4803) == ["TS_3"]
    assert list_runs(config, tomogram="wbp", voxel_size=13.48) == []


def test_a_lazy_tomogram_is_written_block_by_block(config: Path, monkeypatch) -> None:
    written = []
    write = CopickSink.write

    def spy(sink, region, block):
        written.append(block.shape)
        write(sink, region, block)

    monkeypatch.setattr(CopickSink, "write", spy)
    monkeypatch.setattr("volproc.io.lazy.CHUNK_BYTES", 1)
    shape = (300, 20, 30)
    lazy = da.random.default_rng(0).integers(0, 9, shape, chunks=(50, 20, 30), dtype=np.uint8)
    address = add_tomogram(config, "TS_1", "wbp", lazy, voxel_size=10.0)
    assert len(written) > 1
    assert max(n for n, _, _ in written) <= 128
    np.testing.assert_array_equal(open_(address).data.compute(), lazy.compute())


def test_a_tomogram_that_fails_leaves_nothing(config: Path) -> None:
    def fail(block):
        raise RuntimeError("the disk is gone")

    lazy = da.zeros((5, 7, 11), chunks=-1, dtype=np.uint8).map_blocks(fail, dtype=np.uint8)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        add_tomogram(config, "TS_9", "wbp", lazy, voxel_size=10.0)
    assert list_runs(config) == ["TS_1", "TS_2"]
    left = [p.name for p in config.parent.rglob("*") if "TS_9" in str(p)]
    assert left == []


@pytest.mark.parametrize("root", ["local://project/", "file://project", "project"])
def test_a_relative_root_counts_from_the_configuration_file(config, tmp_path, monkeypatch, root):
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "overlay_root": root}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert list_runs(config) == ["TS_1", "TS_2"]
    assert list_runs(Path("..") / config.name) == ["TS_1", "TS_2"]
    assert list(elsewhere.iterdir()) == []


def test_a_root_that_copick_finds_from_the_current_folder_is_found(config, tmp_path, monkeypatch):
    values = json.loads(config.read_text())
    folder = tmp_path / "configs"
    folder.mkdir()
    moved = folder / "copick.json"
    moved.write_text(json.dumps({**values, "overlay_root": "local://project/"}))
    monkeypatch.chdir(tmp_path)
    assert list_runs(moved) == ["TS_1", "TS_2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "pickable_objects"),
        ('{"name": "a", "voxels": 3}', "pickable_objects is missing, got name, voxels"),
        ('{"pickable_objects": [], "config_type": "ftp", "overlay_root": "a"}', "ftp"),
        ('{"pickable_objects": []}', "overlay_root"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "copick.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_project(path)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.json does not exist"):
        list_runs(tmp_path / "none.json")


@needs_shared
@pytest.mark.parametrize("name", ["overlay_local", "overlay_local_static_local"])
def test_official_configurations_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    shutil.copyfile(SHARED / "copick" / f"{name}.json", path)
    assert project_objects(path)["membrane"].radius_angstrom == 10.0
    assert list_runs(path) == []
