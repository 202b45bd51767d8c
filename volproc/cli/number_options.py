"""Options that take several numbers with commas in between."""

from __future__ import annotations

from typing import Any

import click


class Numbers(click.ParamType):
    """Numbers above 0 with commas in between, in square brackets or not.

    Parameters
    ----------
    kind : type
        ``float``, or ``int`` for whole numbers.
    name : str
        What the help calls them.
    example : str
        What an error says to write.
    """

    def __init__(self, kind: type = float, *, name: str = "A,B,...", example: str = "0.2,0.5,1"):
        self.kind, self.name, self.example = kind, name, example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Numbers in their order."""
        if not isinstance(value, str):
            return tuple(value)
        words = value.strip().removeprefix("[").removesuffix("]").split(",")
        try:
            numbers = tuple(self.kind(word) for word in words)
        except ValueError:
            numbers = ()
        if not numbers or not all(0 < number < float("inf") for number in numbers):
            what = "whole numbers" if self.kind is int else "numbers"
            self.fail(f'"{value}" is no list of {what} above 0. Write {self.example}.', param, ctx)
        return numbers
