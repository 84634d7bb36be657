"""Labels belong to their points at a glance."""

import pytest

from qatexp.figures.placement import label_points_
from qatexp.figures.style import new_figure

CENTRE = (0.5, 0.5)
RING = [(0.5 + 0.06 * dx, 0.5 + 0.06 * dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]


@pytest.mark.parametrize(
    ("points", "lines"),
    [
        pytest.param([CENTRE], 0, id="alone"),
        pytest.param([CENTRE, CENTRE], 0, id="the-same-place-twice"),
        pytest.param(RING, 1, id="surrounded"),
    ],
)
def test_a_label_that_could_be_that_of_another_point_has_a_line_to_its_own(points, lines):
    figure = new_figure(5.0, 5.0)
    axes = figure.subplots()
    label_points_(figure, axes, [(CENTRE, "mine")], points=points, lines=[])
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["mine"]
    assert sum(text.arrow_patch is not None for text in axes.texts) == lines
