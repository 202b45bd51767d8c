"""Options that name members of a copick project as Octopi's users write them."""

from __future__ import annotations

from typing import Any

import click


class Words(click.ParamType):
    """Words between commas, in square brackets or not."""

    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Words in their order, each once."""
        if not isinstance(value, str):
            return tuple(value)
        text = value.strip().removeprefix("[").removesuffix("]")
        words = tuple(dict.fromkeys(word.strip().strip("'\"") for word in text.split(",")))
        if not all(words):
            self.fail(f'"{value}" is no list of words. Write a,b,c.', param, ctx)
        return words


class SegmentationName(click.ParamType):
    """Name, user and session of a segmentation: ``name,user,session``, or the name alone."""

    name = "NAME,USER,SESSION"
    user = "octopi"
    session = "1"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, str]:
        """Three words; user and session are ``octopi`` and ``1`` where they are not said."""
        if not isinstance(value, str):
            return value
        text = value.strip().removeprefix("[").removesuffix("]")
        parts = [part.strip() for part in text.split(",")]
        if len(parts) not in (1, 3) or not all(parts):
            self.fail(
                f'"{value}" is no segmentation. Write its name, or name,user,session.', param, ctx
            )
        name, user, session = parts if len(parts) == 3 else (*parts, self.user, self.session)
        return name, user, session


class SegmentationUri(SegmentationName):
    """The same as ``name:user/session``; also ``name``, ``name:user``, or with commas."""

    name = "NAME:USER/SESSION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, str]:
        """Three words; user and session are ``octopi`` and ``1`` where they are not said."""
        if not isinstance(value, str) or "," in value:
            return super().convert(value, param, ctx)
        name, colon, owner = value.strip().partition(":")
        user, slash, session = owner.partition("/")
        if not name or (colon and not user) or (slash and not session) or "/" in name + session:
            self.fail(f'"{value}" is no segmentation. Write name:user/session.', param, ctx)
        return name, user or self.user, session or self.session


class Owned(click.ParamType):
    """``NAME``, ``NAME,USER,SESSION``, ``NAME:USER`` or ``NAME:USER/SESSION``."""

    name = "NAME[,USER,SESSION]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | None, str | None]:
        """Name, user and session; the last two None where they are not said."""
        if not isinstance(value, str):
            return value
        name, colon, owner = value.partition(":")
        user, slash, session = owner.partition("/")
        words = [name, user, *([session] if slash else [])] if colon else value.split(",")
        parts = [word.strip() for word in words]
        if (len(parts) == 2 and not colon) or len(parts) > 3 or not all(parts):
            self.fail(
                f'"{value}" is neither NAME nor NAME,USER,SESSION nor NAME:USER/SESSION.',
                param,
                ctx,
            )
        given = (*parts[1:], None, None)
        return parts[0], given[0], given[1]


class TomogramUri(click.ParamType):
    """Type and voxel spacing of tomograms: ``wbp@10``."""

    name = "TYPE@Å"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Type, and Å per voxel."""
        if not isinstance(value, str):
            return value
        kind, _, text = value.strip().rpartition("@")
        try:
            spacing = float(text)
        except ValueError:
            spacing = 0.0
        if not kind or not 0 < spacing < float("inf"):
            self.fail(f'"{value}" is no tomogram. Write its type and spacing, wbp@10.', param, ctx)
        return kind, spacing
