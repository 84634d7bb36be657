import logging

import pytest

from qatexp.tracking.names import clean_name, param_text, split_finite, tag_text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qconfig.weight.bits", "qconfig.weight.bits"),
        ("qat/deployed_top1", "qat/deployed_top1"),
        ("qconfig.layers[0].match", "qconfig.layers_0_.match"),
        ("a=b,c@d+e%f#g(h)", "a_b_c_d_e_f_g_h_"),
    ],
)
def test_only_forbidden_characters_are_replaced(name, expected):
    assert clean_name(name) == expected


def test_our_names_are_names_to_mlflow():
    from mlflow.utils.validation import _validate_param_name

    _validate_param_name(clean_name("".join(map(chr, range(32, 127))).replace("/", "")))
    _validate_param_name(clean_name("x" * 400))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, "0.1"),
        (4, "4"),
        (0, "0"),
        (None, "null"),
        (True, "true"),
        ("lsq", "lsq"),
        ([1, 2], "[1, 2]"),
    ],
    ids=str,
)
def test_params_read_as_in_the_record(value, expected):
    assert param_text("key", value) == expected


def test_long_values_are_cut_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        text = param_text("qconfig.layers", "x" * 7000)
    assert len(text) == 6000
    expected = "the param qconfig.layers is cut to 6000 of 7000 characters in MLflow"
    assert caplog.messages == [expected]


def test_tags_keep_what_fits(caplog):
    assert tag_text("seed", 3) == "3"
    assert len(tag_text("note", "y" * 9000)) == 8000
    assert "the tag note" in caplog.text


def test_non_finite_values_are_parted_from_the_others():
    finite, others = split_finite({"a": 1.0, "b": float("nan"), "c": float("-inf"), "d": 0.0})
    assert finite == {"a": 1.0, "d": 0.0}
    assert others == ["b=nan", "c=-inf"]
