"""Several numbers in one option."""

from __future__ import annotations

import click
import pytest

from volproc.cli.number_options import Numbers


def test_numbers_are_read_in_their_order_and_in_brackets_too() -> None:
    assert Numbers().convert("0.5,0.2", None, None) == (0.5, 0.2)
    assert Numbers(int).convert("[32, 64]", None, None) == (32, 64)


@pytest.mark.parametrize("text", ["", "1,", "a", "1,0", "-1", "nan", "inf"])
def test_what_is_no_number_above_0_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"no list of numbers above 0\. Write 7"):
        Numbers(example="7.84").convert(text, None, None)


def test_whole_numbers_are_whole() -> None:
    with pytest.raises(click.BadParameter, match="no list of whole numbers"):
        Numbers(int).convert("32,6.4", None, None)
