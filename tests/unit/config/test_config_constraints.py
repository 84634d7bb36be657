from dataclasses import dataclass, field

import pytest

from qatexp.config.constraints import Each, Range, check_limits, limited
from qatexp.errors import ConfigError


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        pytest.param(Range(2, 8), 2, id="lower end"),
        pytest.param(Range(2, 8), 8, id="upper end"),
        pytest.param(Range(0), 0, id="zero is a value"),
        pytest.param(Range(0.0, above=True), 1e-12, id="just above"),
        pytest.param(Range(high=1), -1e300, id="no lower end"),
        pytest.param(Range(0), 10**400, id="too large for a float"),
        pytest.param(Range(2, 8), None, id="not set"),
    ],
)
def test_a_range_takes(limits, value):
    assert limits.violation(value) is None


@pytest.mark.parametrize(
    ("limits", "value", "text"),
    [
        pytest.param(Range(2, 8), 1, "allowed: 2 to 8", id="below"),
        pytest.param(Range(2, 8), 9, "allowed: 2 to 8", id="over"),
        pytest.param(Range(0), -1, "allowed: at least 0", id="negative"),
        pytest.param(Range(0.0, above=True), 0.0, "allowed: above 0.0", id="end excluded"),
        pytest.param(
            Range(50.0, 100.0, above=True), 50.0, "allowed: above 50.0 to 100.0", id="both ends"
        ),
        pytest.param(Range(high=3), 4, "allowed: at most 3", id="only an upper end"),
        pytest.param(Range(0), float("nan"), "allowed: at least 0, and finite", id="nan"),
        pytest.param(Range(0), float("inf"), "allowed: at least 0, and finite", id="infinite"),
    ],
)
def test_a_range_refuses_and_says_what_is_allowed(limits, value, text):
    assert limits.violation(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param([1, 2], None, id="all fit"),
        pytest.param([1, 0], "allowed: at least 1", id="a later one does not fit"),
        pytest.param([], "allowed: a list with at least one member", id="empty"),
    ],
)
def test_each_checks_every_member(value, text):
    assert Each(Range(1)).violation(value) == text


@dataclass
class Leaf:
    size: int = field(default=1, metadata=limited(Range(1)))


@dataclass
class Tree:
    leaf: Leaf = field(default_factory=Leaf)
    leaves: list[Leaf] = field(default_factory=list)


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        pytest.param(Tree(leaf=Leaf(0)), "leaf.size", id="nested"),
        pytest.param(Tree(leaves=[Leaf(), Leaf(0)]), r"leaves\[1\]\.size", id="in a list"),
    ],
)
def test_limits_are_checked_at_any_depth_and_named_in_full(tree, key):
    with pytest.raises(ConfigError, match=rf"^{key}=0 is not possible; allowed: at least 1\.$"):
        check_limits(tree)


def test_limits_that_hold_pass():
    check_limits(Tree(leaves=[Leaf(3)]))


def test_a_list_that_may_be_empty_still_checks_its_members():
    constraint = Each(Range(2, 8), empty=True)
    assert constraint.violation([]) is None
    assert constraint.violation([4, 9]) == "allowed: 2 to 8"
