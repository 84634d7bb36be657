"""The Pareto front: what may be left out, and what a tolerance may not do."""

from hypothesis import given
from hypothesis import strategies as st

from qatexp.results.front import Point, front


def chosen(points, *tolerances):
    return set(front([Point(gain, costs) for gain, costs in points], tolerances=tolerances))


def test_a_point_beaten_in_everything_is_left_out():
    assert chosen([(90.0, (1.0,)), (80.0, (2.0,)), (70.0, (0.5,))], 0.0) == {0, 2}


def test_equal_points_are_both_on_the_front():
    assert chosen([(90.0, (1.0,)), (90.0, (1.0,))], 0.0) == {0, 1}


def test_a_cost_within_the_tolerance_does_not_save_a_worse_point():
    points = [(90.0, (1.00,)), (80.0, (0.96,))]
    assert chosen(points, 0.05) == {0}
    assert chosen(points, 0.0) == {0, 1}


def test_among_equal_gains_a_clearly_lower_second_cost_replaces_what_was_admitted_first():
    """Sizes a byte apart decide the order of admission; they must not decide the front."""
    assert chosen([(90.0, (100.0, 2.0)), (90.0, (100.1, 1.0))], 0.01, 0.05) == {1}


POINTS = st.lists(
    st.tuples(st.integers(0, 5), st.tuples(st.integers(1, 5), st.integers(1, 5))), min_size=1
)


@given(POINTS)
def test_without_tolerance_the_front_is_what_no_point_dominates(points):
    def dominates(one, other):
        no_worse = one[0] >= other[0] and all(a <= b for a, b in zip(one[1], other[1], strict=True))
        return no_worse and one != other

    expected = {
        i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)
    }
    assert chosen(points, 0.0, 0.0) == expected


@given(POINTS, st.floats(0.0, 0.5))
def test_the_best_gain_is_always_on_the_front(points, tolerance):
    on_front = chosen(points, tolerance, tolerance)
    assert max(points[i][0] for i in on_front) == max(gain for gain, _ in points)
