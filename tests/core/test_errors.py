"""Errors say which word was meant."""

import pytest

from volproc.core import errors
from volproc.core.errors import ExistsError, MissingFileError, VolprocError, nearest


def test_the_nearest_word_is_named_or_all_are() -> None:
    assert nearest("overlaps", ["overlap", "tta"]) == 'did you mean "overlap"?'
    assert nearest("quux", ["tta", "overlap"]) == "known are: overlap, tta."


@pytest.mark.parametrize(
    "kind",
    [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, VolprocError)],
)
def test_every_error_can_be_caught_as_ours_and_reads_as_written(kind: type[VolprocError]) -> None:
    assert str(kind("what, got, cure")) == "what, got, cure"


def test_file_errors_are_also_the_builtin_ones() -> None:
    assert issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(ExistsError, FileExistsError)
