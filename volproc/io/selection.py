"""Which of several arrays an address means: one rule for all formats."""

from __future__ import annotations

from volproc.core.errors import AddressError, SeveralError
from volproc.io.formats import Selection


def pick_one(address: str, what: str, option: str, index: int | None, count: int) -> int:
    """Return the index of the wanted one of several.

    Parameters
    ----------
    address : str
        For the message.
    what : str
        Plural of what there are several of.
    option : str
        Option that selects one: ``t``, ``c`` …
    index : int or None
        What was asked for; negative counts from the end.
    count : int
        How many there are.

    Raises
    ------
    SeveralError
        If there are several and none was asked for.
    AddressError
        If the index is outside.

    Examples
    --------
    >>> pick_one("cells.tif", "channels", "c", None, 1)
    0
    >>> pick_one("cells.tif", "channels", "c", -1, 3)
    2
    """
    if index is None:
        if count == 1:
            return 0
        msg = (
            f"{address} holds {count} {what}. Select one with {option}=0 … {option}={count - 1} "
            f"(--{option} on the command line)."
        )
        raise SeveralError(msg, option=option, choices=tuple(range(count)))
    if not -count <= index < count:
        known = "0" if count == 1 else f"0 to {count - 1}"
        msg = f"{address} has no {option}={index}: it holds {count} {what}. Give {known}."
        raise AddressError(msg)
    return index % count


def refuse_dataset(address: str, selection: Selection) -> None:
    """Refuse the path of an array inside a file that holds just one.

    Raises
    ------
    AddressError
    """
    if selection.dataset:
        msg = (
            f'{address} holds one array and no datasets, got dataset="{selection.dataset}". '
            "Leave it out."
        )
        raise AddressError(msg)
