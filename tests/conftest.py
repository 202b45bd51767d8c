"""Settings that every test runs under."""

import gc
import os

# Before NumPy, numba or torch size their thread pools: many small tests on few cores run faster
# with one thread each, and sums come out in one order.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import dask  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from volproc.io.copick_config import keep_logging  # noqa: E402

with keep_logging():  # tests that import copick themselves would get its logging too
    import copick.impl.cryoet_data_portal
    import copick.impl.filesystem
    import copick.util.segmentation  # noqa: F401

dask.config.set(num_workers=2)

# Times on a shared machine say nothing about the code.
settings.register_profile(
    "volproc", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("volproc")

gc.disable()  # until all tests are collected: next to nothing is garbage by then


def pytest_collection_finish() -> None:
    """Keep a million objects of all tests out of each collection of garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()
