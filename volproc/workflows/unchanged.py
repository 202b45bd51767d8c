"""Whether an input is still what it was when a run began."""

from __future__ import annotations

from collections.abc import Callable

from volproc.core.arrays import Source
from volproc.core.errors import AddressError, FormatError, InputChangedError
from volproc.core.volume import Volume


def refuse_changed(reopen: Callable[[], Volume], source: Source) -> None:
    """Refuse an input that is not what it was when the run began.

    Parameters
    ----------
    reopen : callable
        Opens the input once more.
    source : Source
        The input as it was opened first.

    Raises
    ------
    InputChangedError
    """
    before = source.identity()
    try:
        again = reopen().source
        now = again.identity() if again is not None else "of another kind"
    except (AddressError, FormatError, OSError) as error:
        now = f"not readable any more: {error}"
    if now != before:
        msg = (
            f"the input changed while it was read: it was {before}, and is {now}. Blocks may come "
            "from both, so nothing of them is kept. Run it again when nobody writes to the input."
        )
        raise InputChangedError(msg)
