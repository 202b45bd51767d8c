"""What runs the work of a command: words, files, and sizes that nobody would use."""

from pathlib import Path

import click
import numpy as np
import pytest
import zarr

from volproc.cli.cluster_run import check_sizes, open_cluster
from volproc.cli.main import run
from volproc.config.cluster import ClusterConfig
from volproc.core.errors import ClusterError, ConfigError


def test_a_cluster_comes_from_a_word_or_a_file(tmp_path: Path) -> None:
    with open_cluster("threads", workers=2) as session:
        assert session.num_workers == 2
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: threads\nnum_workers: 3\n")
    with open_cluster(str(file)) as session:
        assert session.num_workers == 3
    with open_cluster(str(file), workers=1) as session:
        assert session.num_workers == 1


def test_a_wrong_cluster_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("workers: 3\n")
    with pytest.raises(ConfigError, match='unknown key "workers"'), open_cluster(str(file)):
        pass
    with pytest.raises(ClusterError, match="is not a cluster"), open_cluster("kubernetes"):
        pass


@pytest.mark.parametrize("where", [None, "serial"])
def test_workers_without_a_cluster_are_refused_with_the_cure(where: str | None) -> None:
    with pytest.raises(click.UsageError, match=r"--workers 4 needs .* Add --cluster local"):
        check_sizes(where, workers=4, memory_limit=None, config=None, plans_memory=True)
    check_sizes(where, workers=1, memory_limit=None, config=None, plans_memory=True)


def test_workers_of_a_file_are_refused_unless_serial_is_asked_for() -> None:
    sizes = {"workers": None, "memory_limit": None, "plans_memory": False}
    with pytest.raises(click.UsageError, match="--workers 3"):
        check_sizes(None, **sizes, config=ClusterConfig(num_workers=3))
    check_sizes("serial", **sizes, config=ClusterConfig(num_workers=3))
    check_sizes(None, **sizes, config=ClusterConfig(cluster="threads", num_workers=3))


@pytest.mark.parametrize("where", [None, "threads"])
def test_memory_of_workers_that_there_are_not_is_refused(where: str | None) -> None:
    sizes = {"workers": None, "memory_limit": 10**9, "config": None}
    with pytest.raises(click.UsageError, match="--memory-limit is the memory of one worker"):
        check_sizes(where, **sizes, plans_memory=False)
    check_sizes(where, **sizes, plans_memory=True)
    check_sizes("local", **sizes, plans_memory=False)


def test_a_command_refuses_them_as_misuse(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("noise.npy", np.zeros((5, 7, 11), np.float32))
    assert run(["convert", "noise.npy", "a.mrc", "-vs", "10", "--workers", "2"]) == 2
    assert "Add --cluster local" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["noise.npy"]


def test_workers_with_another_current_folder_find_what_is_named_from_this_one(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    # Processes that are spawned begin in the folder in which this one was started.
    monkeypatch.chdir(tmp_path)
    voxels = np.arange(5 * 7 * 11, dtype=np.float32).reshape(5, 7, 11)
    np.save("noise.npy", voxels)
    words = ["convert", "noise.npy", "./a.zarr", "-vs", "10"]
    assert run([*words, "--cluster", "local", "--workers", "1"]) == 0, capsys.readouterr().err
    np.testing.assert_array_equal(zarr.open("a.zarr/0", mode="r")[...], voxels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "noise.npy"]
