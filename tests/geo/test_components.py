"""Groups of what touches, against a component search of another library."""

import cv2
import numpy as np
import pytest

from crossview.geo.points import label_components, label_touching_cells


@pytest.mark.parametrize("seed", range(10))
def test_cells_that_touch_are_grouped_as_opencv_groups_pixels(seed):
    mask = np.random.default_rng(seed).random((20, 30)) < 0.25
    cells = np.argwhere(mask)
    expected = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1][mask]
    labels = label_touching_cells(cells)
    assert len({*zip(labels.tolist(), expected.tolist(), strict=True)}) == labels.max() + 1
    assert labels.max() + 1 == expected.max()


def test_groups_are_numbered_by_their_first_member():
    assert label_touching_cells(np.array([[5, 5], [0, 0], [5, 6], [9, 9]])).tolist() == [0, 1, 0, 2]


def test_the_last_column_touches_the_first_where_columns_go_round():
    ends = np.array([[0, 0], [0, 7]])
    assert label_touching_cells(ends).tolist() == [0, 1]
    assert label_touching_cells(ends, columns=8).tolist() == [0, 0]


def test_a_chain_is_one_group_and_nothing_is_none():
    chain = [[1], [0, 2], [1], []]
    assert label_components(4, lambda i: chain[i]).tolist() == [0, 0, 0, 1]
    assert label_components(0, lambda i: []).size == 0
