"""What comes out of networks with several heads."""

from __future__ import annotations

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.models.monai_networks import build_monai, finest_output


def test_the_finest_of_several_maps_is_kept() -> None:
    batch = torch.zeros(2, 1, 4, 5, 6)
    fine, coarse = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    assert finest_output(fine, batch) is fine
    assert finest_output([fine, coarse], batch) is fine
    assert finest_output((fine, coarse), batch) is fine
    assert torch.equal(finest_output(torch.stack([fine, coarse], 1), batch), fine)


def test_a_network_that_this_monai_lacks_is_named() -> None:
    with pytest.raises(ModelError, match="MONAI's UnetOfTomorrow cannot be built"):
        build_monai("UnetOfTomorrow")
