import json
import math
from dataclasses import replace

import pytest

from qatexp.rerun.verdict import (
    MISSING,
    Figure,
    Verdict,
    compare_figures,
    compare_latencies,
)


def changed(record, **fields):
    return replace(record, variants={"qat": replace(record.variants["qat"], **fields)})


def different(original, rerun):
    found = Verdict(compare_figures(original, rerun), (), ()).different
    return {item.name: (item.original, item.rerun) for item in found}


def test_a_record_is_equal_to_itself_and_every_part_has_figures(record):
    names = [figure.name for figure in compare_figures(record, record)]
    assert different(record, record) == {}
    assert {
        "qat/top1", "qat/val_top1", "qat/ops_int/QLinearConv", "parity/flipped",
        "parity/certificate/folding/codes_differ_share", "parity/certificate/reference_unmodelled",
        "quantization/layers/conv1/weight_bits", "quantization/oscillation/conv1",
        "kept_epochs/fp32", "data/fingerprint", "data/test", "data/mean",
    } <= set(names)  # fmt: skip
    assert len(names) == len(set(names))


def test_times_paths_and_run_ids_are_not_figures(record):
    slower = changed(record, latency_ms_p50=9.0, latency_speedup=0.1, file="elsewhere.onnx")
    slower = replace(slower, seconds={"qat": 99.0}, mlflow_run_id=None, cached={"qat": True})
    assert different(record, slower) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("loss", math.nextafter(0.1, 1), id="last bit"),
        pytest.param("params", 100.0, id="type"),
        pytest.param("macs_int_share", True, id="truth value"),
        pytest.param("val_top1", 0.0, id="none"),
    ],
)
def test_there_is_no_tolerance(record, field, value):
    before = getattr(record.variants["qat"], field)
    assert different(record, changed(record, **{field: value})) == {f"qat/{field}": (before, value)}


def test_nan_is_equal_to_nan_and_zero_has_a_sign():
    assert Figure("loss", math.nan, float("nan")).is_equal
    assert not Figure("loss", 0.0, -0.0).is_equal


def test_figures_that_one_run_lacks_are_different(record):
    rerun = replace(changed(record, ops_int={"QGemm": 1}), parity=None)
    found = different(record, rerun)
    assert found["qat/ops_int/QLinearConv"] == (9, MISSING)
    assert found["qat/ops_int/QGemm"] == (MISSING, 1)
    assert found["parity/flipped"] == (0, MISSING)


def test_a_checkpoint_counts_by_its_content(record):
    one, two = (
        replace(record, fingerprints={**record.fingerprints, "checkpoint": digit * 64})
        for digit in "12"
    )
    assert different(one, two) == {"checkpoint": ("1" * 64, "2" * 64)}


def test_latency_is_a_ratio(record):
    (item,) = compare_latencies(record, changed(record, latency_ms_p50=0.75))
    assert (item.variant, item.ratio) == ("qat", 1.5)


def test_the_json_form_holds_every_figure(record):
    figures = compare_figures(record, changed(record, loss=0.2))
    content = Verdict(figures, compare_latencies(record, record), ()).to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["verdict"] == "different"
    assert content["different"] == 1
    assert content["equal"] == len(figures) - 1
    assert content["latency"] == {"qat": {"original_ms": 0.5, "rerun_ms": 0.5, "ratio": 1.0}}
    assert {
        "name": "qat/loss", "original": 0.1, "rerun": 0.2, "verdict": "different"
    } in content["figures"]  # fmt: skip
