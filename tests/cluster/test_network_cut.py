"""A network that drops packets in silence between scheduler and worker, made of real namespaces."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import dask.config
import pytest
from distributed import LocalCluster, get_worker

from volproc.cluster import connect
from volproc.cluster.local import settings
from volproc.core.types import Index
from volproc.graph.ledger import Ledger
from volproc.graph.run import run_stage

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@dataclass(frozen=True)
class Cable:
    """A cable between this machine and a network namespace."""

    namespace: str
    here: str = "10.213.7.1"
    there: str = "10.213.7.2"

    def cut(self) -> None:
        """Drop every packet from now on; neither side is told."""
        command("ip", "-n", self.namespace, "link", "set", "there", "down")

    def mend(self) -> None:
        command("ip", "-n", self.namespace, "link", "set", "there", "up")


@pytest.fixture
def cable() -> Iterator[Cable]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need ip and root")
    found = Cable(f"volproc-{os.getpid()}")
    end = f"vp{os.getpid()}"
    try:
        command("ip", "netns", "add", found.namespace)
    except subprocess.CalledProcessError:
        pytest.skip("network namespaces cannot be made here")
    try:
        command(
            "ip", "link", "add", end, "type", "veth",
            "peer", "name", "there", "netns", found.namespace,
        )  # fmt: skip
        command("ip", "addr", "add", f"{found.here}/24", "dev", end)
        command("ip", "link", "set", end, "up")
        for words in (
            ("addr", "add", f"{found.there}/24", "dev", "there"),
            ("link", "set", "there", "up"),
            ("link", "set", "lo", "up"),
        ):
            command("ip", "-n", found.namespace, *words)
        yield found
    finally:
        command("ip", "netns", "del", found.namespace)
        subprocess.run(["ip", "link", "del", end], capture_output=True, check=False)


@dataclass(frozen=True)
class Work:
    """A block that a far worker holds on to until it is told to go on."""

    folder: Path

    def __call__(self, index: Index) -> dict[str, object]:
        name = str(get_worker().name)
        (self.folder / f"begun-{index[0]}-{name}").touch()
        end = time.monotonic() + 120
        while name == "far" and not (self.folder / "go-on").exists() and time.monotonic() < end:
            time.sleep(0.1)
        (self.folder / f"{index[0]}.partial-{name}").write_text(f"block {index[0]}")
        (self.folder / f"{index[0]}.partial-{name}").rename(self.folder / f"{index[0]}.block")
        return {"worker": name}

    def has(self, pattern: str) -> bool:
        return any(self.folder.glob(pattern))


@contextmanager
def far_worker(cable: Cable, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    words = ("-m", "distributed.cli.dask_worker", address, "--name", "far", "--nthreads", "1")
    process = subprocess.Popen(
        ["ip", "netns", "exec", cable.namespace, sys.executable, *words, "--no-nanny"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11 s"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_block_of_a_worker_that_is_cut_off_goes_elsewhere_and_its_late_end_does_no_harm(
    cable: Cable, tmp_path: Path
) -> None:
    work = Work(tmp_path / "blocks")
    work.folder.mkdir()
    blocks = [(number, 0, 0) for number in range(4)]
    ledger = Ledger.begin(tmp_path / "ledger", {"what": "cut"})
    chosen = {**settings(1, allowed_failures=0), "distributed.comm.timeouts.tcp": "11 s"}
    found: dict[Index, object] = {}

    def cut(cluster: LocalCluster) -> None:
        while not work.has("begun-*-far"):
            time.sleep(0.05)
        cable.cut()
        cluster.scale(1)  # another worker comes, on this side

    with (
        dask.config.set(chosen),
        LocalCluster(
            n_workers=0,
            host=cable.here,
            protocol="tcp://",
            processes=False,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        far_worker(cable, cluster.scheduler_address) as far,
        connect(cluster.scheduler_address, timeout_s=60) as executor,
        ThreadPoolExecutor(1) as pool,
    ):
        cutting = pool.submit(cut, cluster)
        run_stage(
            "predict",
            blocks,
            work,
            executor=executor,
            ledger=ledger,
            collect=lambda index, facts: found.__setitem__(index, facts["worker"]),
        )
        cutting.result()
        assert far.poll() is None, "the far worker knows nothing of it yet"
        assert set(found) == set(blocks)
        assert "far" not in found.values()
        (work.folder / "go-on").touch()
        cable.mend()
        far.wait(60)
    assert ledger.done("predict") == set(blocks)
    assert sorted(path.name for path in work.folder.glob("*.block")) == [
        f"{number}.block" for number in range(4)
    ]
    assert not work.has("*.partial-*")
