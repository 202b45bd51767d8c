"""What people are told when the system refuses something: a full disk, a missing right."""

from __future__ import annotations

import errno

CURES = {
    errno.ENOSPC: "Make room on the disk, or write to another one.",
    errno.EDQUOT: "Make room below your quota, or write to another disk.",
    errno.EROFS: "Write to another folder, or have the disk mounted so that it can be written to.",
    errno.EACCES: "Check the rights of the file and its folder, or choose another folder.",
    errno.EPERM: "Check the rights of the file and its folder, or choose another folder.",
    errno.EFBIG: "Raise the largest size of a file (ulimit -f), or write OME-Zarr, whose files are "
    "small.",
    errno.EMFILE: "Raise the number of open files (ulimit -n), or use fewer workers (--workers).",
    errno.EIO: "The disk or the way to it has failed: look into the system's log.",
    errno.ESTALE: "The file server has lost it: check the mount.",
}
"""What to do, by the number of the system's error."""


def explain_refusal(error: OSError) -> str:
    """Say what the system refused, where, and what to do.

    Parameters
    ----------
    error : OSError
        As it was raised, also by a library or in another process.

    Returns
    -------
    text : str
        The error's own text where the system's number is unknown here.

    Examples
    --------
    >>> explain_refusal(OSError(errno.ENOSPC, "No space left on device", "out/a.zarr"))
    'out/a.zarr: No space left on device. Make room on the disk, or write to another one.'
    >>> explain_refusal(OSError("what a library says"))
    'what a library says'
    """
    if error.errno not in CURES:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}. {CURES[error.errno]}"
