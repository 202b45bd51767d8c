"""Scores of predictions against truths."""

from volproc.metrics.contingency import contingency_table
from volproc.metrics.ezquant import (
    compute_3d_dice,
    compute_3d_iou,
    compute_split_merge_errors,
)
from volproc.metrics.instances import count_split_merge, match_instances, score_matches
from volproc.metrics.matching import match_points
from volproc.metrics.overlap import confusion, dice, iou, score_classes
from volproc.metrics.partitions import adapted_rand_error, variation_of_information
from volproc.metrics.points import combine_scores, score_points
from volproc.metrics.summary import summarize_scores

__all__ = [
    "adapted_rand_error",
    "combine_scores",
    "compute_3d_dice",
    "compute_3d_iou",
    "compute_split_merge_errors",
    "confusion",
    "contingency_table",
    "count_split_merge",
    "dice",
    "iou",
    "match_instances",
    "match_points",
    "score_classes",
    "score_matches",
    "score_points",
    "summarize_scores",
    "variation_of_information",
]
