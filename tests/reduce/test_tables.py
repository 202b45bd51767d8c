"""Tables of objects as values."""

import numpy as np

from volproc.reduce.objects import measure_block
from volproc.reduce.tables import empty_table, merge_tables


def test_objects_that_get_one_label_become_one_row() -> None:
    labels = np.array([[1, 1, 0, 2], [0, 3, 0, 2]])
    table = measure_block(labels, offset=(0, 0), shape=(2, 4))
    united = table.with_labels(np.array([7, 5, 7]))
    assert united.label.tolist() == [5, 7]
    assert united.count.tolist() == [2, 3]
    assert united.first.tolist() == [3, 0]
    assert united.sums.tolist() == [[1, 6], [1, 2]]
    assert united.lower.tolist() == [[0, 3], [0, 0]]
    assert united.upper.tolist() == [[2, 4], [2, 2]]


def test_selected_rows_keep_their_order_and_the_table_is_left_alone() -> None:
    table = measure_block(np.array([[1, 2, 3]]), offset=(0, 0), shape=(1, 3))
    assert table.select(np.array([True, False, True])).label.tolist() == [1, 3]
    assert len(table) == 3


def test_an_empty_table_changes_nothing() -> None:
    table = measure_block(
        np.array([[4, 4]]), offset=(0, 0), shape=(1, 2), intensity=np.array([[1.0, 2.0]])
    )
    merged = merge_tables([empty_table(2), table, empty_table(2)])
    assert merged.count.tolist() == [2]
    assert merged.intensity is not None
