"""Scores of predictions against truths."""

from volproc.metrics.matching import match_points
from volproc.metrics.overlap import confusion, dice, iou, score_classes
from volproc.metrics.points import combine_scores, score_points
from volproc.metrics.summary import summarize_scores

__all__ = [
    "combine_scores",
    "confusion",
    "dice",
    "iou",
    "match_points",
    "score_classes",
    "score_points",
    "summarize_scores",
]
