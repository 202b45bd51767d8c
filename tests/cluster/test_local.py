"""Processes on this machine: killed workers, thread counts, GPUs that are not there."""

import os
import re
import signal
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import dask
import psutil
import pytest
from dask.system import CPU_COUNT
from distributed import LocalCluster, Nanny

from volproc.cluster import connect, local
from volproc.cluster.network import Network
from volproc.cluster.session import share_cores
from volproc.core.errors import ClusterError, WorkerDiedError

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def die(path: str, times: int) -> int:
    """Kill this process as often as asked, counted in a file; then return how often it ran."""
    with Path(path).open("a") as file:
        file.write("x")
    runs = Path(path).stat().st_size
    if runs <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


def environment(name: str) -> str | None:
    return os.environ.get(name)


def test_a_worker_that_dies_gives_its_call_back_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    with connect("local", num_workers=1) as executor:
        executor.submit("once", die, str(tmp_path / "once"), 1)
        [(key, result, error)] = executor.completed()
        assert (key, result) == ("once", None)
        assert isinstance(error, WorkerDiedError)
        assert error.cause == "killed"
        assert re.search(r"once was under way when its worker at tcp://\S+ died", str(error))
        executor.submit("once", die, str(tmp_path / "once"), 1)
        executor.submit("threads", environment, "OMP_NUM_THREADS")
        outcomes = {key: (result, error) for key, result, error in executor.completed()}
        # A result that a dying worker took with it is made again, so it may have run more often.
        assert outcomes["once"][0] >= 2
        # One worker has all cores for the libraries inside its calls.
        assert outcomes["threads"] == (str(CPU_COUNT), None)
        # A task of a lazy array is tried again by the scheduler.
        assert dask.delayed(die)(str(tmp_path / "lazy"), 1).compute() == 2
    assert "OMP_NUM_THREADS" not in os.environ


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def addresses_of_listeners(process: psutil.Process) -> set[str]:
    found = process.net_connections("tcp")
    return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}


def test_workers_share_the_cores_and_nothing_listens_to_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in local.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = addresses_of_listeners(psutil.Process())
    with connect("local", num_workers=2) as executor:
        for number in range(4):
            executor.submit(str(number), torch_threads)
        found = {result for _, result, _ in executor.completed()}
        assert found == {max(1, CPU_COUNT // 2)}
        me = psutil.Process()
        workers = [child for child in me.children(recursive=True) if child.net_connections("tcp")]
        assert len(workers) == 2
        listened = set.union(*map(addresses_of_listeners, (me, *workers)))
    assert listened - before == {"127.0.0.1"}


def test_a_scheduler_listens_to_other_machines_only_if_asked_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def start(**arguments: Any) -> None:
        asked.update(arguments)
        raise RuntimeError("enough")

    monkeypatch.setattr(local, "LocalCluster", start)
    with pytest.raises(ClusterError, match="enough"):
        connect("local")
    assert asked["host"] == "127.0.0.1"
    assert not caplog.records
    with pytest.raises(ClusterError, match="enough"):
        connect("local", network=Network(interface="ib0"))
    assert asked["interface"] == "ib0"
    assert "whoever reaches it can run code as you" in caplog.text


def test_threads_share_the_cores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("volproc.cluster.session.count_cores", lambda: 6)
    before = torch.get_num_threads()
    with connect("threads", num_workers=2) as executor:
        executor.submit("threads", torch_threads)
        assert list(executor.completed()) == [("threads", 3, None)]
    assert torch.get_num_threads() == before


def test_threads_keep_a_number_that_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch_threads()
    with connect("threads", num_workers=2) as executor:
        executor.submit("threads", torch_threads)
        assert list(executor.completed()) == [("threads", before, None)]


def test_torch_that_is_not_loaded_yet_finds_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    restore = share_cores(10**6)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    restore()
    assert "OMP_NUM_THREADS" not in os.environ


def is_interrupt_blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_ctrl_c_reaches_this_process_and_not_its_workers() -> None:
    before = signal.getsignal(signal.SIGINT)
    with connect("local", num_workers=1) as executor:
        executor.submit("blocked", is_interrupt_blocked)
        assert list(executor.completed()) == [("blocked", True, None)]
        assert not is_interrupt_blocked()
        assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_during_a_start_is_kept_until_it_can_be_obeyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []

    class Cluster(LocalCluster):
        def __init__(self, **arguments: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().__init__(**{**arguments, "n_workers": 0})

        def close(self, timeout: float | None = None) -> Any:
            closed.append(timeout)
            return super().close(timeout)

    monkeypatch.setattr(local, "LocalCluster", Cluster)
    with pytest.raises(KeyboardInterrupt):
        connect("local")
    assert closed


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.usefixtures("no_gpu")
def test_cuda_without_a_gpu_says_what_is_missing() -> None:
    with pytest.raises(ClusterError) as caught:
        connect("cuda")
    text = str(caught.value)
    assert "no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES is '')" in text
    assert "Use --cluster local" in text
    assert ("dask-cuda is not installed" in text) == (find_spec("dask_cuda") is None)


def test_gpus_are_counted_without_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:02:00.0").mkdir()
    monkeypatch.setattr(local, "GPU_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local.count_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert local.count_gpus() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert local.count_gpus() == 0


def test_cuda_starts_one_thread_a_gpu_without_spilling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def start(**arguments: Any) -> LocalCluster:
        asked.update(arguments)
        return LocalCluster(n_workers=0, dashboard_address=arguments["dashboard_address"])

    dask_cuda = ModuleType("dask_cuda")
    dask_cuda.LocalCUDACluster = start  # type: ignore[attr-defined]
    dask_cuda.__spec__ = ModuleSpec("dask_cuda", None)
    monkeypatch.setitem(sys.modules, "dask_cuda", dask_cuda)
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(local, "GPU_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with connect("cuda", memory_limit="8 GiB"):
        pass
    assert asked["threads_per_worker"] == 1
    assert asked["device_memory_limit"] == 0
    assert asked["memory_limit"] == "8 GiB"
    assert asked["host"] == "127.0.0.1"
    assert issubclass(asked["worker_class"], Nanny)
    assert "rmm_pool_size" not in asked


def test_a_cluster_that_cannot_start_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: Any) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(local, "LocalCluster", fail)
    with pytest.raises(ClusterError, match=r'Nanny failed to start.*if __name__ == "__main__"'):
        connect("local")


@pytest.mark.skipif(find_spec("bokeh") is not None, reason="bokeh is installed")
def test_a_dashboard_without_bokeh_is_refused() -> None:
    with pytest.raises(ClusterError, match="needs bokeh"):
        connect("local", dashboard_address="127.0.0.1:0")


@pytest.mark.gpu
@pytest.mark.skipif(
    not local.count_gpus() or find_spec("dask_cuda") is None, reason="needs a GPU and dask-cuda"
)
def test_cuda_runs_one_worker_a_gpu() -> None:
    with connect("cuda") as executor:
        assert executor.num_workers == local.count_gpus()
        executor.submit("device", environment, "CUDA_VISIBLE_DEVICES")
        ((_, result, error),) = executor.completed()
    assert error is None
    assert result
