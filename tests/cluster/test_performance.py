"""Performance reports: refused before the work where they cannot be drawn, drawn at the end."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from volproc.cluster import connect
from volproc.cluster.performance import report_performance
from volproc.cluster.session import Session
from volproc.core.errors import AddressError, ClusterError


def test_without_a_path_nothing_happens() -> None:
    with connect("serial") as session, report_performance(session, None):
        pass


@pytest.mark.parametrize("spec", ["serial", "threads"])
def test_without_a_scheduler_it_is_refused(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "report.html"
    with connect(spec, num_workers=1) as session:
        report = report_performance(session, str(path))
        with pytest.raises(ClusterError, match="comes from a Dask scheduler"), report:
            pytest.fail("the work began")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    with connect("serial") as session:
        for path in (tmp_path, tmp_path / "missing" / "report.html"):
            report = report_performance(session, str(path))
            with pytest.raises(AddressError, match="cannot be written there"), report:
                pytest.fail("the work began")


@pytest.mark.parametrize(
    ("client", "scheduler", "said"),
    [
        (None, "3.9", "which this process lacks"),
        ("3.9", None, "which the scheduler lacks"),
        (None, None, "which this process and the scheduler lacks"),
    ],
)
def test_where_bokeh_is_missing_is_said(
    tmp_path: Path, client: str | None, scheduler: str | None, said: str
) -> None:
    versions = {
        "client": {"packages": {"bokeh": client}},
        "scheduler": {"packages": {"bokeh": scheduler}},
    }
    session: Any = SimpleNamespace(client=SimpleNamespace(get_versions=lambda packages: versions))
    report = report_performance(session, str(tmp_path / "report.html"))
    with pytest.raises(ClusterError, match=said), report:
        pytest.fail("the work began")


def run_and_fail(session: Session, path: Path) -> None:
    with report_performance(session, str(path)):
        session.submit("sum-of-two", sum, [1, 2])
        assert list(session.completed()) == [("sum-of-two", 3, None)]
        raise ZeroDivisionError


@pytest.mark.skipif(find_spec("bokeh") is None, reason="bokeh, which draws it, is not installed")
def test_the_page_holds_what_ran_also_where_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with connect("local", num_workers=1) as session:
        assert session.dashboard.startswith("http://127.0.0.1:")
        with pytest.raises(ZeroDivisionError):
            run_and_fail(session, path)
        text = path.read_text()
        assert text.lstrip().startswith("<!DOCTYPE html>")
        assert "sum-of-two" in text
        assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
