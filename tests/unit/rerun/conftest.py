"""Finished runs as they are found again, without running anything."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from qatexp.config.parse import plain_config
from qatexp.records import Agreement as Same
from qatexp.records import Certificate, Parity, Record, Variant
from qatexp.rerun.origin import Origin

SAME = Same(1.0, 0, 0.25, 1, "conv1")


def variant(**fields) -> Variant:
    values = {
        "top1": 90.5,
        "deployed_top1": 90.25,
        "loss": 0.1,
        "params": 100,
        "size_bytes": 400,
        "size_ideal_bytes": 390,
        "latency_ms_p50": 0.5,
        "latency_ms_p95": 0.6,
        "latency_speedup": 1.0,
        "macs_int_share": 1.0,
        "ops_int": {"QLinearConv": 9},
        "file": "artifacts/qat.onnx",
    }
    return Variant(**{**values, **fields})


@pytest.fixture
def record() -> Record:
    return Record(
        name="net-images",
        status="finished",
        params={"seed": 0},
        mlflow_run_id="f00d",
        variants={"qat": variant()},
        parity=Parity(
            1.0, 0.0, 0, 359, Certificate(256, 0, SAME, True, SAME, SAME, 1.0, ("Softmax",))
        ),
        seconds={"qat": 3.0},
        fingerprints={"data": "d" * 64, "fp32": "a" * 16, "qat": "b" * 16},
        environment={
            "threads": 2,
            "device": "cpu",
            "cpu": "Test CPU",
            "cpu_flags": ["avx2"],
            "gpu": None,
            "git_commit": "c" * 40,
            "git_dirty": False,
            "versions": {"qatexp": "0.1.0", "torch": "2.14.1"},
        },
        data={"name": "images", "train": 9, "test": 359, "fingerprint": "d" * 64, "mean": [0.3]},
        kept_epochs={"fp32": 3},
        quantization={"layers": {"conv1": {"weight_bits": 8}}, "oscillation": {"conv1": 0.25}},
    )


@pytest.fixture
def make_origin(points, record) -> Callable[..., Origin]:
    """What a run with a command line of its own leaves, after a trip through JSON."""

    def make(*arguments: str, **environment) -> Origin:
        (config,) = points(*arguments)
        plain = json.loads(json.dumps(plain_config(config), allow_nan=False))
        left = replace(record, environment={**record.environment, **environment})
        return Origin("run f00d", "f00d", plain, left)

    return make
