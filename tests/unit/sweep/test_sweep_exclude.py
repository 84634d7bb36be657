"""Points of a grid that expressions leave out."""

import pytest

from qatexp.errors import ConfigError
from qatexp.sweep.exclude import without_excluded


@pytest.fixture
def grid(points):
    configs = points("-m", "qconfig.bits=8,4,2", "schedule.qat.epochs=1,5")
    return [([str(index)], config) for index, config in enumerate(configs)]


def kept(expressions, grid):
    return [
        (config.qconfig.bits, config.schedule.qat.epochs)
        for _, config in without_excluded(expressions, grid)
    ]


def test_without_expressions_all_points_stay(grid):
    assert without_excluded([], grid) == grid


def test_a_point_for_which_one_expression_holds_is_left_out(grid):
    found = kept(["qconfig.bits == 8 and qat.epochs > 1", "qconfig.bits == 2"], grid)
    assert found == [(8, 1), (4, 1), (4, 5)]


def test_an_expression_that_leaves_out_nothing_is_warned_about(grid, caplog):
    assert len(kept(["qconfig.bits == 3"], grid)) == 6
    assert "'qconfig.bits == 3' holds for no point" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("bitz == 4", "unknown name bitz", id="name"),
        pytest.param("qconfig.bits = = 4", "expected before", id="grammar"),
        pytest.param("seed == 0", "leaves none of 6 points", id="nothing left"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused(grid, text, message):
    with pytest.raises(ConfigError, match=rf"^sweep\.exclude.*{message}"):
        without_excluded([text], grid)
