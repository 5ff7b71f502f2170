import numpy as np

from wsdarts_registry.gallery._distances import side_by_side


def test_tasks_on_a_line_stand_in_its_order() -> None:
    line = np.array([5.0, 0, 9, 1, 4])
    order = side_by_side(np.abs(line[:, None] - line))
    found = line[list(order)].tolist()
    assert found in ([0, 1, 4, 5, 9], [9, 5, 4, 1, 0])


def test_clusters_meet_where_they_are_nearest() -> None:
    # {0, 1} and {2, 3}: 1 and 3 are the near ends, so neither 0 nor 2 may stand between.
    distances = np.array([[0, 1, 9, 8], [1, 0, 8, 5], [9, 8, 0, 1], [8, 5, 1, 0]], dtype=float)
    assert side_by_side(distances) in ((0, 1, 3, 2), (2, 3, 1, 0))


def test_average_linkage_decides_who_joins() -> None:
    # 2 is at 2 from 0 and at 8 from 1, 5 on average; 3 is at 4 from 2. Single linkage would
    # join 2 to {0, 1}, average linkage joins it to 3.
    distances = np.array([[0, 1, 2, 9], [1, 0, 8, 9], [2, 8, 0, 4], [9, 9, 4, 0]], dtype=float)
    order = side_by_side(distances)
    assert order in ((1, 0, 2, 3), (3, 2, 0, 1))


def test_none_and_one() -> None:
    assert side_by_side(np.zeros((0, 0))) == ()
    assert side_by_side(np.zeros((1, 1))) == (0,)
