"""Names of members of a project as Octopi's users write them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from volproc.cli.copick_options import Owned, SegmentationName, SegmentationUri, TomogramUri, Words
from volproc.cli.main import run


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Words(), "a,b", ("a", "b")),
        (Words(), "[a, 'b',a]", ("a", "b")),
        (SegmentationName(), "predict", ("predict", "octopi", "1")),
        (SegmentationName(), "a,me,2", ("a", "me", "2")),
        (SegmentationUri(), "predict", ("predict", "octopi", "1")),
        (SegmentationUri(), "a:me", ("a", "me", "1")),
        (SegmentationUri(), "a:me/2", ("a", "me", "2")),
        (SegmentationUri(), "a,me,2", ("a", "me", "2")),
        (Owned(), "a", ("a", None, None)),
        (Owned(), "a,me,2", ("a", "me", "2")),
        (Owned(), "a:me", ("a", "me", None)),
        (Owned(), "a:me/2", ("a", "me", "2")),
        (TomogramUri(), "wbp@7.84", ("wbp", 7.84)),
    ],
)
def test_words_mean_what_octopi_means_by_them(kind: Any, text: str, expected: Any) -> None:
    assert kind.convert(text, None, None) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Words(), "a,,b"),
        (SegmentationName(), "a,b"),
        (SegmentationName(), "a,,1"),
        (SegmentationUri(), "a:"),
        (SegmentationUri(), "a:me/"),
        (SegmentationUri(), ":me/1"),
        (TomogramUri(), "wbp"),
        (TomogramUri(), "wbp@0"),
        (TomogramUri(), "@10"),
    ],
)
def test_words_that_mean_nothing_are_refused(kind: Any, text: str) -> None:
    with pytest.raises(click.BadParameter, match="Write"):
        kind.convert(text, None, None)


@pytest.mark.parametrize("text", ["a,me", "a:", "a:me/", ":me/1", "a,me,1,2", ""])
def test_an_owner_that_is_not_said_in_full_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is neither NAME nor"):
        Owned().convert(text, None, None)


def test_the_group_takes_octopis_short_flags(capsys: pytest.CaptureFixture[str]) -> None:
    words = "-m com -sinfo predict -vs 10 --runIDs a -rmin 0.5 -rmax 1 -fs 10 -obj a,b -np 2"
    more = "-pui me -psid 2 -lbl 1 -c nothing.json"
    assert run(["octopi", "localize", *words.split(), *more.split()]) == 1
    assert "nothing.json does not exist" in capsys.readouterr().err
