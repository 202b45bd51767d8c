"""The loss against MONAI, and its limits."""

from __future__ import annotations

import warnings

import pytest
import torch

from volproc.training.losses import dice_cross_entropy

with warnings.catch_warnings():
    # MONAI imports modules that warn of their own deprecations.
    warnings.simplefilter("ignore")
    from monai.losses import DiceCELoss


@pytest.mark.parametrize("weights", [None, [0.3, 1.0, 2.0]])
def test_the_loss_is_that_of_monai(weights: list[float] | None) -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 3, 5, 7, 11), torch.randint(0, 3, (2, 5, 7, 11))
    weight = None if weights is None else torch.tensor(weights)
    entropy = torch.nn.functional.cross_entropy(logits, classes, weight=weight)
    reference = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        smooth_nr=1.0,
        smooth_dr=1.0,
        lambda_ce=0.0,
    )
    expected = entropy + reference(logits, classes[:, None])
    torch.testing.assert_close(dice_cross_entropy(logits, classes, class_weights=weight), expected)


def test_a_sure_and_right_answer_costs_nothing_and_a_wrong_one_much() -> None:
    classes = torch.randint(0, 2, (1, 4, 4, 4))
    logits = 50.0 * torch.nn.functional.one_hot(classes, 2).movedim(-1, 1).float()
    assert dice_cross_entropy(logits, classes) < 1e-3
    assert dice_cross_entropy(-logits, classes) > 10


def test_a_class_that_is_nowhere_costs_nothing() -> None:
    classes = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    logits = torch.zeros(1, 3, 4, 4, 4)
    logits[:, 0] = 50.0
    assert dice_cross_entropy(logits, classes) < 1e-3
