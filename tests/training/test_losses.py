"""The loss against MONAI, and its limits."""

from __future__ import annotations

import warnings

import pytest
import torch

from volproc.training.losses import dice_cross_entropy, focal, loss_of, tversky

with warnings.catch_warnings():
    # MONAI imports modules that warn of their own deprecations.
    warnings.simplefilter("ignore")
    from monai.losses import DiceCELoss, FocalLoss, TverskyLoss


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


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_the_tversky_loss_is_that_of_monai_with_the_background(alpha: float) -> None:
    torch.manual_seed(1)
    logits, classes = torch.randn(2, 3, 5, 7, 11), torch.randint(0, 3, (2, 5, 7, 11))
    reference = TverskyLoss(
        include_background=True, to_onehot_y=True, softmax=True, alpha=alpha, beta=1 - alpha
    )
    torch.testing.assert_close(
        tversky(logits, classes, alpha=alpha), reference(logits, classes[:, None])
    )


def test_the_focal_loss_is_that_of_monai() -> None:
    torch.manual_seed(2)
    logits, classes = torch.randn(2, 3, 5, 7, 11), torch.randint(0, 3, (2, 5, 7, 11))
    reference = FocalLoss(include_background=True, to_onehot_y=True, use_softmax=True, gamma=1.5)
    # MONAI's mean is over classes too, of which all but one count nothing.
    expected = 3 * reference(logits, classes[:, None])
    torch.testing.assert_close(focal(logits, classes, gamma=1.5), expected)
    entropy = torch.nn.functional.cross_entropy(logits, classes, torch.tensor([1.0, 2.0, 5.0]))
    weighted = focal(logits, classes, gamma=0.0, class_weights=torch.tensor([1.0, 2.0, 5.0]))
    torch.testing.assert_close(weighted, entropy)


def test_every_loss_is_chosen_by_name_and_depths_count_half_each() -> None:
    torch.manual_seed(3)
    logits, classes = torch.randn(1, 3, 4, 6, 8), torch.randint(0, 3, (1, 4, 6, 8))
    both = tversky(logits, classes, alpha=0.2) + focal(logits, classes, gamma=3.0)
    torch.testing.assert_close(
        loss_of(logits, classes, choice="focal-tversky", alpha=0.2, gamma=3.0), both
    )
    coarse = torch.randn(1, 3, 2, 3, 4)
    deep = loss_of([logits, coarse], classes)
    expected = (
        dice_cross_entropy(logits, classes)
        + 0.5 * dice_cross_entropy(coarse, classes[:, ::2, ::2, ::2])
    ) / 1.5
    torch.testing.assert_close(deep, expected)
    stacked = torch.stack([logits, logits], 1)
    torch.testing.assert_close(loss_of(stacked, classes), dice_cross_entropy(logits, classes))
