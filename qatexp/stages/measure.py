"""Measure every variant: bytes, latency and integer share, beside its accuracy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from qatexp.config.variables import NEIGHBOURS
from qatexp.measurement import Timing, time_in_turns
from qatexp.quantization.inventory import ideal_bytes, parameter_count
from qatexp.records import Latency, Parity, Variant
from qatexp.results.units import counted
from qatexp.runtimes import onnxruntime
from qatexp.stages.certify import certify
from qatexp.stages.context import Context
from qatexp.stages.evaluate import Candidate, Evaluation, evaluate_variant

QUANTIZED = {"ptq", "qat"}
TOP1_GAP = 0.1
"""Points between PyTorch and the deployed file from which a run warns."""

QAT_LOSS = 1.0
"""Points of deployed top-1 that qat may end below ptq before a run warns."""


def measure(
    context: Context, candidates: Mapping[str, Candidate]
) -> tuple[dict[str, Variant], Parity | None]:
    """Measure all variants of a run with the same images, threads and process.

    Returns:
        The figures by variant, and the parity of qat with its file (of ptq where there is no qat).
    """
    found = {name: evaluate_variant(context, name, item) for name, item in candidates.items()}
    with context.stage("measure"):
        latencies = _latencies(context, candidates)
        variants = {
            name: _variant(context, item, found[name], latencies[name])
            for name, item in candidates.items()
        }
        _warn_of_saturation(context, variants)
        _warn_of_neighbours(context)
        for name in sorted(QUANTIZED & found.keys()):
            _warn_of_gap(context, name, found[name])
        _warn_of_loss(context, variants)
    return variants, _parity(context, candidates, found)


def _parity(
    context: Context, candidates: Mapping[str, Candidate], found: Mapping[str, Evaluation]
) -> Parity | None:
    name = next((name for name in ("qat", "ptq") if name in candidates), None)
    deployment = None if name is None else candidates[name].deployment
    if name is None or deployment is None:
        return None
    _warn_of_one_class(context, name, found[name])
    return replace(found[name].parity, certificate=certify(context, deployment))


def _warn_of_saturation(context: Context, variants: Mapping[str, Variant]) -> None:
    options: dict[str, str] = {}
    for variant in variants.values():
        options |= variant.session_options
    if options:
        entries = ", ".join(f"{key}={value}" for key, value in options.items())
        context.warn(
            "this processor has no VNNI: ONNX Runtime's default kernels saturate on it. Files are "
            f"measured with the session option {entries}, exact and slower; set it where you "
            "deploy to such processors, or train for them: qconfig.backend=x86"
        )


def _warn_of_neighbours(context: Context) -> None:
    neighbours = int(os.environ.get(NEIGHBOURS, "0"))
    if neighbours > 0:
        others = counted(neighbours, "other trial")
        context.warn(
            f"latencies were measured while up to {others} ran on this machine; "
            "compare speedups, which are measured in turns, or run the best trials again alone"
        )


def _warn_of_gap(context: Context, name: str, found: Evaluation) -> None:
    gap = abs(found.top1 - found.deployed_top1)
    if gap > TOP1_GAP:
        context.warn(
            f"{name} has {found.top1:.2f} % in PyTorch but {found.deployed_top1:.2f} % deployed, "
            f"{gap:.2f} points apart"
        )


def _warn_of_one_class(context: Context, name: str, found: Evaluation) -> None:
    if found.predicted_classes == 1:
        context.warn(
            f"{name} predicts one and the same class for all test images, so that its predictions "
            "agree with those of its file says nothing"
        )


def _warn_of_loss(context: Context, variants: Mapping[str, Variant]) -> None:
    if "ptq" not in variants or "qat" not in variants:
        return
    before, after = variants["ptq"].deployed_top1, variants["qat"].deployed_top1
    if before - after > QAT_LOSS:
        context.warn(
            f"qat has made the model worse: {after:.2f} % deployed, {before - after:.2f} points "
            f"below ptq; lower schedule.qat.lr_scale={context.config.schedule.qat.lr_scale:g}"
        )


def _latencies(
    context: Context, candidates: Mapping[str, Candidate]
) -> dict[str, tuple[Latency, ...]]:
    """Time the files in turns, once for every batch size and thread count."""
    config = context.config.measure
    found: dict[str, tuple[Latency, ...]] = dict.fromkeys(candidates, ())
    for threads in config.thread_counts:
        for batch_size in config.batch_sizes:
            images = context.data.example(batch_size)
            calls = {
                name: onnxruntime.caller(item.path, images, threads=threads)
                for name, item in candidates.items()
            }
            timings = time_in_turns(
                calls,
                warmup=config.warmup,
                rounds=config.rounds,
                min_round_ms=config.min_round_ms,
            )
            for name, timing in timings.items():
                point = _latency(timing, timings["fp32"], batch_size, threads)
                found[name] = (*found[name], point)
    return found


def _latency(timing: Timing, baseline: Timing, batch_size: int, threads: int) -> Latency:
    speedup = baseline.ms_p50 / timing.ms_p50
    return Latency(batch_size, threads, timing.ms_p50, timing.ms_p95, speedup)


def _variant(
    context: Context,
    item: Candidate,
    found: Evaluation,
    latencies: tuple[Latency, ...],
) -> Variant:
    description = onnxruntime.describe(item.path, context.data.example(1))
    headline = latencies[0]
    return Variant(
        top1=found.top1,
        deployed_top1=found.deployed_top1,
        loss=found.loss,
        params=parameter_count(item.model),
        size_bytes=onnxruntime.stored_bytes(item.path),
        size_ideal_bytes=ideal_bytes(item.model),
        latency_ms_p50=headline.ms_p50,
        latency_ms_p95=headline.ms_p95,
        latency_speedup=headline.speedup,
        macs_int_share=description.macs_int_share,
        val_top1=found.val_top1,
        latencies=latencies,
        ops_int=description.ops_int,
        ops_float=description.ops_float,
        file=str(item.path.relative_to(context.folder)),
        session_options=onnxruntime.session_options(item.path),
    )
