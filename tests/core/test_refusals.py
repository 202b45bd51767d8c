from __future__ import annotations

import errno
import pickle

import pytest

from volproc.core.refusals import CURES, explain_refusal


@pytest.mark.parametrize("number", sorted(CURES))
def test_a_refusal_says_what_where_and_what_to_do_also_from_another_process(number: int) -> None:
    error = pickle.loads(pickle.dumps(OSError(number, "no", "out.zarr")))
    assert explain_refusal(error) == f"out.zarr: no. {CURES[number]}"


def test_a_refusal_without_a_file_or_of_unknown_kind_says_what_there_is() -> None:
    assert explain_refusal(OSError(errno.ENOSPC, "full")) == f"full. {CURES[errno.ENOSPC]}"
    assert explain_refusal(OSError(errno.ECHILD, "none")) == f"[Errno {errno.ECHILD}] none"
