"""Folders of runs and sweeps as `qatexp` leaves them, without running anything."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qatexp.records import RECORD_FILE, Latency, Parity, Record, Variant

MakeRecord = Callable[..., Record]
LR = "schedule.qat.lr_scale"


def variant(top1, size_bytes, latency_ms, **fields):
    points = (Latency(1, 1, latency_ms, 1.3 * latency_ms, 2.0 / latency_ms),)
    values = {
        "top1": top1 + 0.05,
        "deployed_top1": top1,
        "loss": 0.5,
        "params": 269_722,
        "size_bytes": size_bytes,
        "size_ideal_bytes": size_bytes,
        "latency_ms_p50": latency_ms,
        "latency_ms_p95": 1.3 * latency_ms,
        "latency_speedup": 2.0 / latency_ms,
        "macs_int_share": 1.0,
        "latencies": points,
        "ops_int": {"QLinearAdd": 9, "QLinearConv": 19},
    }
    return Variant(**{**values, **fields})


@pytest.fixture
def make_record() -> MakeRecord:
    def make(*, bits=8, qat=86.0, ptq=80.0, size_bytes=296_600, latency_ms=0.8, lr=0.1, **fields):
        floats = {"macs_int_share": 0.0, "ops_int": {}, "ops_float": {"Conv": 19}}
        variants = {"qat": variant(qat, size_bytes, latency_ms)} if qat is not None else {}
        variants["ptq"] = variant(ptq, size_bytes, latency_ms)
        variants["fp32"] = variant(81.0, 1_096_700, 2.0, **floats)
        params = {
            "model": "cifar_resnet20",
            "qconfig.bits": bits,
            "qconfig.weight.bits": bits,
            "qconfig.activation.bits": bits,
            LR: lr,
        }
        record = Record(
            name="cifar_resnet20-cifar10",
            status="finished",
            params=params,
            variants=variants,
            parity=Parity(0.9972, 0.03125, 28, 10_000),
            environment={"cpu": "Test CPU"},
        )
        return replace(record, **fields)

    return make


@pytest.fixture
def failed(make_record) -> Record:
    message = "the loss is not finite [step 3]; lower schedule.qat.lr_scale=0.5"
    error = {"stage": "qat", "kind": "training", "message": message}
    return make_record(lr=0.5, status="failed", variants={}, parity=None, error=error)


def write_run(folder: Path, record: Record) -> Path:
    folder.mkdir(parents=True)
    (folder / RECORD_FILE).write_text(json.dumps(record.to_dict()))
    return folder


@pytest.fixture
def make_sweep(tmp_path):
    def make(*records: Record, root: str = "sweep") -> Path:
        for number, record in enumerate(records):
            write_run(tmp_path / root / str(number), record)
        return tmp_path / root

    return make
