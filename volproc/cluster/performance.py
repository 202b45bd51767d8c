"""What a Dask scheduler can say of a run, as a page: ``--performance-report``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volproc.cluster.session import Session
from volproc.core.errors import AddressError, ClusterError

logger = logging.getLogger(__name__)


@contextmanager
def report_performance(session: Session, path: str | None) -> Iterator[None]:
    """Write what the scheduler saw inside the ``with`` block, as a page of HTML.

    Parameters
    ----------
    session : Session
        What runs the work.
    path : str, optional
        The page, replaced where it is there. Without one, nothing is written.

    Raises
    ------
    AddressError
        If the page cannot be written there.
    ClusterError
        If there is no Dask scheduler, or if it lacks bokeh, which draws the page.

    Notes
    -----
    The page appears when the run has ended, well or not. By then the work is done: what goes
    wrong with the page is said, and does not fail the run.
    """
    if not path:
        yield
        return
    partial = _place(path)
    _check_scheduler(session, path)
    from distributed import performance_report  # loads distributed: only where it is used

    report = performance_report(filename=str(partial))
    report.__enter__()
    try:
        yield
    finally:
        _finish(report, partial, Path(path).expanduser())


def _place(path: str) -> Path:
    """File that becomes the page, in a folder that takes it."""
    final = Path(path).expanduser()
    if final.is_dir() or not os.access(final.parent, os.W_OK | os.X_OK):
        msg = (
            f"the performance report {path} cannot be written there. Give --performance-report a "
            "file in a folder that exists and can be written to, such as report.html."
        )
        raise AddressError(msg)
    return final.with_name(f".{final.name}.{os.getpid()}.partial")


def _check_scheduler(session: Session, path: str) -> None:
    """Refuse what cannot be reported, before the work begins."""
    client = getattr(session, "client", None)
    if client is None:
        msg = (
            f"the performance report {path} comes from a Dask scheduler, and this run has none. "
            "Use --cluster local (or cuda, or the address of a scheduler), or leave "
            "--performance-report out."
        )
        raise ClusterError(msg)
    versions = client.get_versions(packages=["bokeh"])
    lacking = [
        name
        for name, said in (("this process", "client"), ("the scheduler", "scheduler"))
        if not versions[said]["packages"].get("bokeh")
    ]
    if lacking:
        msg = (
            f"the performance report {path} is drawn by bokeh, which {' and '.join(lacking)} "
            "lacks. Install it there (pip install bokeh), or leave --performance-report out."
        )
        raise ClusterError(msg)


def _finish(report: Any, partial: Path, final: Path) -> None:
    """Write the page; a scheduler that is gone by now cannot."""
    try:
        report.__exit__(None, None, None)
        partial.replace(final)
    except Exception as error:  # whatever distributed and bokeh raise
        partial.unlink(missing_ok=True)
        logger.warning("the performance report %s could not be written: %s", final, error)
