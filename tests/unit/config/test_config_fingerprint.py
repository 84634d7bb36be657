import pytest

from qatexp.config.fingerprint import fingerprint


def test_the_value_is_pinned():
    """Another value would disown every stage that users have in their caches."""
    assert fingerprint("fp32", {"seed": 0, "lr": 0.1}) == "0bf54fbd7c0042dd"


def test_the_order_of_keys_does_not_count():
    nested = {"b": {"y": [1, 2], "x": None}, "a": 1.5}
    assert fingerprint(nested) == fingerprint({"a": 1.5, "b": {"x": None, "y": [1, 2]}})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(([1, 2],), ([2, 1],), id="order of a list"),
        pytest.param((0,), (False,), id="zero and false"),
        pytest.param((1,), (1.0,), id="whole and real"),
        pytest.param((1,), ("1",), id="number and text"),
        pytest.param((None,), ("null",), id="null and text"),
        pytest.param(("ab", "c"), ("a", "bc"), id="where a part ends"),
        pytest.param((0.1,), (0.1 + 2**-56,), id="neighbouring reals"),
        pytest.param(("é",), ("e",), id="accents"),
        pytest.param((float("nan"),), (float("inf"),), id="not finite"),
    ],
)
def test_what_differs_hashes_differently(one, other):
    assert fingerprint(*one) != fingerprint(*other)


def test_what_is_not_plain_data_is_refused():
    """`str(object)` would hash an address in memory."""
    with pytest.raises(TypeError):
        fingerprint(object())
