"""Octopi's logs: what is written is read back, and bad ones are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from volproc.core.errors import AddressError, FormatError, MissingFileError
from volproc.io.octopi_logs import dump_yaml, log_path, logs_folder, read_log, write_log


def project(folder: Path, overlay: str | None) -> Path:
    config = folder / "config.json"
    values = {"config_type": "filesystem", "pickable_objects": [], "overlay_root": overlay}
    config.write_text(json.dumps(values))
    return config


def test_a_log_is_read_back_in_its_order_with_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "segment-octopi_1_predict.yaml"
    shared = ["a"]
    values: dict[str, Any] = {
        "labels": {"ribosome": np.int64(2), "apo-ferritin": 1},
        "model": {"configs": (Path("a.yaml"),), "weights": shared, "again": shared},
        "outputs": {"seg_session_id": "1"},
    }
    write_log(path, values)
    found = read_log(path)
    assert list(found["labels"].items()) == [("ribosome", 2), ("apo-ferritin", 1)]
    assert found["model"] == {"configs": ["a.yaml"], "weights": ["a"], "again": ["a"]}
    assert found["outputs"]["seg_session_id"] == "1"
    assert "&" not in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_log_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "log.yaml"
    write_log(path, {"a": 1})
    with pytest.raises(yaml.YAMLError):
        write_log(path, {"a": object()})
    assert read_log(path) == {"a": 1}


@pytest.mark.parametrize("overlay", ["local://project/", "project", "local:///{}/project"])
def test_logs_lie_in_the_overlay(tmp_path: Path, overlay: str) -> None:
    config = project(tmp_path, overlay.format(str(tmp_path).lstrip("/")))
    assert logs_folder(config) == tmp_path / "project" / "logs"


@pytest.mark.parametrize("overlay", ["s3://bucket/project", None])
def test_an_overlay_elsewhere_is_refused(tmp_path: Path, overlay: str | None) -> None:
    with pytest.raises(AddressError, match=r"local overlay_root"):
        logs_folder(project(tmp_path, overlay))


def test_logs_have_octopis_names(tmp_path: Path) -> None:
    config = project(tmp_path, "project")
    names = [
        log_path(config, "segment", user="octopi", session="1", name="predict").name,
        log_path(config, "localize", user="me", session="2").name,
        log_path(config, "membrane-extract", user="me", session="2").name,
    ]
    assert names == [
        "segment-octopi_1_predict.yaml", "localize-me_2.yaml", "membrane-extract_me_2.yaml"
    ]  # fmt: skip
    with pytest.raises(AddressError, match="no part of a log's name"):
        log_path(config, "localize", user="../me", session="1")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n", "!!python/object/apply:os.getcwd []\n", "\x00"])
def test_a_log_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"log\.yaml"):
        read_log(path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml does not exist"):
        read_log(tmp_path / "none.yaml")


def test_yaml_is_laid_out_as_octopis() -> None:
    text = "parameters:\n    runIDs:\n    - TS_1\n"
    assert dump_yaml({"parameters": {"runIDs": ["TS_1"]}}) == text
