"""Records as a sweep leaves them, without running one."""

from collections.abc import Callable

import pytest

from qatexp.records import Latency, Record, Variant

MakeTrial = Callable[..., Record]


def variant(top1, size_bytes, latency_ms, fp32_ms):
    return Variant(
        top1=top1 + 0.05,
        deployed_top1=top1,
        loss=0.5,
        params=269_722,
        size_bytes=size_bytes,
        size_ideal_bytes=size_bytes,
        latency_ms_p50=latency_ms,
        latency_ms_p95=1.3 * latency_ms,
        latency_speedup=fp32_ms / latency_ms,
        macs_int_share=1.0,
        latencies=(Latency(1, 1, latency_ms, 1.3 * latency_ms, fp32_ms / latency_ms),),
    )


@pytest.fixture
def make_trial() -> MakeTrial:
    def make(*, qat=86.0, ptq=80.0, size_bytes=296_600, latency_ms=0.8, bits=8, **params):
        accuracies = {"ptq": ptq, "qat": qat}
        quantized = {
            name: variant(top1, size_bytes, latency_ms, 2.0)
            for name, top1 in accuracies.items()
            if top1 is not None
        }
        settings = {
            "model": "cifar_resnet20",
            "qconfig.bits": bits,
            "qconfig.weight.bits": bits,
            "qconfig.activation.bits": bits,
        }
        return Record(
            name="cifar_resnet20-cifar10",
            status="finished",
            params={**settings, **params},
            variants={"fp32": variant(81.0, 1_096_700, 2.0, 2.0), **quantized},
        )

    return make
