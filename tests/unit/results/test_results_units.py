"""How numbers read: users compare them digit by digit."""

import pytest

from qatexp.results.units import (
    counted,
    factor,
    milliseconds,
    percent,
    points,
    share,
    size_unit,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0.01234, "0.0123", id="far-below-one"),
        pytest.param(0.9996, "1.00", id="rounds-up-to-the-next-decade"),
        pytest.param(1.0, "1.00", id="trailing-zeros-are-digits"),
        pytest.param(99.96, "100", id="rounds-up-to-three-digits"),
        pytest.param(1234.5, "1,230", id="no-more-than-three-digits"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(float("nan"), "nan", id="not-a-number"),
    ],
)
def test_milliseconds_have_three_significant_digits(value, text):
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("sizes", "texts"),
    [
        pytest.param([296_600, 1_096_700], ["296.6 kB", "1,096.7 kB"], id="one-unit-for-all"),
        pytest.param([25_700_000, 102_400_000], ["25.70 MB", "102.40 MB"], id="megabytes"),
        pytest.param([999_999, 1_000_000], ["1,000.0 kB", "1,000.0 kB"], id="just-below-one-MB"),
        pytest.param([1_000_000], ["1.00 MB"], id="exactly-one-MB"),
    ],
)
def test_sizes_of_a_table_share_a_unit_and_decimals(sizes, texts):
    unit = size_unit(sizes)
    assert [unit.text(size) for size in sizes] == texts


def test_a_table_without_sizes_has_a_unit():
    assert size_unit([]).name == "kB"


def test_shares_percents_differences_and_ratios():
    assert percent(81.034) == "81.03"
    assert share(0.99951) == "99.95"
    assert points(5.12) == "+5.12"
    assert points(-0.5) == "-0.50"
    assert factor(2.312) == "2.31x"
    assert counted(1, "thread") == "1 thread"
    assert counted(0, "thread") == "0 threads"
