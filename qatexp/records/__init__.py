"""The frozen results of a run, and their one JSON form: ``record.json``, schema 1."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qatexp.errors import StoreError

SCHEMA = 1
RECORD_FILE = "record.json"
CONFIG_FINGERPRINT = "config"
"""Name of the whole configuration's fingerprint among those of a record's stages."""
PROCESS_STAGE = "process"
"""Stage of the error of a run that could not write its own end: its process was killed, say."""
START_STAGE, TRACKING_STAGE = "start", "tracking"
"""Stages of the error of a run that did not come to its first one."""
CONFIG_FILE = "config.json"
"""The resolved configuration, beside the record."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one call of an exported file, at one batch size and thread count, in turns."""

    batch_size: int
    threads: int
    ms_p50: float
    ms_p95: float
    speedup: float
    """Median FP32 time over this file's median, both measured in turns in one process."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What was measured of one variant (fp32, control, ptq or qat)."""

    top1: float
    """Percent of the test images, in PyTorch; fake-quantized for ptq and qat."""
    deployed_top1: float
    """Percent of the same images, the exported file in its runtime."""
    loss: float
    """Mean cross entropy over the test images, in PyTorch."""
    params: int
    """Number of parameters of the trained model."""
    size_bytes: int
    """Bytes of the exported file."""
    size_ideal_bytes: int
    """Bytes of the weights packed at their bits."""
    latency_ms_p50: float
    latency_ms_p95: float
    latency_speedup: float
    """Against fp32, measured in turns in one process; 1.0 for fp32 itself."""
    macs_int_share: float
    """Share (0..1) of multiply-accumulates that run in integer kernels."""
    val_top1: float | None = None
    """Percent of the validation images, in PyTorch; None without a validation split."""
    latencies: tuple[Latency, ...] = ()
    """Every batch size and thread count that was measured; the first is the headline."""
    ops_int: dict[str, int] = field(default_factory=dict)
    """Operators that ran in integers after the runtime's optimization, by type."""
    ops_float: dict[str, int] = field(default_factory=dict)
    """Operators that ran in floating point, by type."""
    file: str = ""
    """The exported file, relative to the run's folder."""
    session_options: dict[str, str] = field(default_factory=dict)
    """Entries of the runtime's configuration without which this processor does not compute what
    the file says; all figures were taken with them."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two forms of one model compute the same."""

    top1_agreement: float
    """Share (0..1) of the images with the same predicted class."""
    flipped: int
    """Number of images whose predicted class differs."""
    codes_differ_share: float | None
    """Share (0..1) of all activation codes that differ; None where they could not be matched."""
    max_output_steps: int | None
    """Largest difference of the last quantized tensor, in steps of its grid."""
    first_difference: str | None
    """What computed the first tensor that differs; None where all are equal."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Every step from the trained model to the deployed file, compared on test images."""

    images: int
    weight_codes_moved: int
    """Weights whose integer code folding batch norm changed."""
    folding: Agreement
    """The fake-quantized model before and after folding batch norm."""
    folded_equals_converted: bool
    """Whether folded model and integer weights give the same logits, bit for bit."""
    unoptimized: Agreement
    """The converted model and the file in its runtime, without graph optimization."""
    optimized: Agreement
    """The converted model and the file in its runtime, as it is deployed."""
    reference_codes_share: float | None
    """Share (0..1) of the file's output codes that the integer reference predicts exactly."""
    reference_unmodelled: tuple[str, ...]
    """Operators for which the reference does not vouch."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The fake-quantized model against its deployed file, image by image."""

    top1_agreement: float
    """Share (0..1) of the test images with the same predicted class."""
    max_abs_diff: float
    """Largest difference of a logit."""
    flipped: int
    """Number of test images whose predicted class differs."""
    images: int
    certificate: Certificate | None = None
    """Where a difference comes from; None where `measure.certificate_images` is 0."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One deployed file on the way to a target."""

    variant: str
    """ptq or qat."""
    epochs: int
    """Of QAT; 0 for ptq."""
    drop: float
    """Points of top-1 that the deployed file loses against the deployed fp32."""


@dataclass(frozen=True, slots=True)
class Target:
    """What was tried to lose at most `max_drop` points of top-1, in order."""

    max_drop: float
    split: str
    """The images that decided: val, or test where there are no others."""
    attempts: tuple[Attempt, ...]

    @property
    def met(self) -> bool:
        """Whether the last file lies within the drop."""
        return self.attempts[-1].drop <= self.max_drop


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that one run leaves to compare it by. The layout is a contract: see `SCHEMA`."""

    name: str
    status: str
    """running, finished, failed, interrupted, skipped, or pruned by a search."""
    params: dict[str, Any]
    """Every key that figures depend on, flat, under its name on the command line."""
    mlflow_run_id: str | None = None
    variants: dict[str, Variant] = field(default_factory=dict)
    parity: Parity | None = None
    target: Target | None = None
    """What `target.max_drop` led to; None where it was not set."""
    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    """By stage; `config` is that of the whole configuration and the code."""
    environment: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    """Data set name, classes, split sizes and seed; hashes of all of it, and of the test images."""
    kept_epochs: dict[str, int] = field(default_factory=dict)
    """By training (fp32, control, qat): the epoch that validation chose, where `select` is best."""
    val_top1_by_epoch: dict[str, list[float]] = field(default_factory=dict)
    """By training: percent of the validation images, in PyTorch, after each epoch."""
    resumed: dict[str, int] = field(default_factory=dict)
    """By training: the epochs that came from a checkpoint, as the run before was cut off."""
    shared: dict[str, int] = field(default_factory=dict)
    """By training: the epochs that came from one of another length (`decay: short`)."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """What was quantized and what was left in float, as found in the graph."""
    warnings: tuple[str, ...] = ()
    """What was weakened: the figures hold, but not quite for what was asked."""
    error: dict[str, str] | None = None
    """For a run that did not finish: stage, kind and message; a failure's traceback."""
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the schema first."""
        content = dataclasses.asdict(self)
        return {"schema": content.pop("schema"), **content}

    def to_json(self) -> str:
        """The content of ``record.json``."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def metrics(self) -> dict[str, float]:
        """Final figures as flat metric names: ``qat/deployed_top1``, ``parity/top1_agreement``.

        Of a target there are ``target/met`` (1 or 0) and ``target/drop``, that of the last file.
        """
        flat: dict[str, float] = {}
        for variant_name, variant in self.variants.items():
            for item in dataclasses.fields(variant):
                value = getattr(variant, item.name)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    flat[f"{variant_name}/{item.name}"] = float(value)
        if self.parity is not None:
            flat |= dict(_numbers("parity", dataclasses.asdict(self.parity)))
        if self.target is not None:
            flat["target/met"] = float(self.target.met)
            flat["target/drop"] = self.target.attempts[-1].drop
        return flat


def _numbers(name: str, content: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers and truth values of a tree, with `/` between the levels."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _numbers(f"{name}/{key}", value)
        elif isinstance(value, int | float):
            yield f"{name}/{key}", float(value)


def from_dict(content: dict[str, Any]) -> Record:
    """Rebuild a record from its JSON form.

    Raises:
        StoreError: the schema is not one that this version reads, or the layout is not a record's.
    """
    if content.get("schema") != SCHEMA:
        raise StoreError(
            f"a record of schema {content.get('schema')!r} cannot be read; "
            f"this version reads schema {SCHEMA}"
        )
    try:
        variants = {name: _variant(value) for name, value in content["variants"].items()}
        parity = None if content["parity"] is None else _parity(content["parity"])
        target = None if content.get("target") is None else _target(content["target"])
        rest = {**content, "variants": variants, "parity": parity, "target": target}
        return Record(**{**rest, "warnings": tuple(content["warnings"])})
    except (KeyError, TypeError, AttributeError) as problem:
        raise StoreError(f"not the layout of a record: {problem}") from problem


def _variant(content: dict[str, Any]) -> Variant:
    latencies = tuple(Latency(**point) for point in content["latencies"])
    return Variant(**{**content, "latencies": latencies})


def _parity(content: dict[str, Any]) -> Parity:
    certificate = content.get("certificate")
    if certificate is None:
        return Parity(**content)
    steps = {key: Agreement(**certificate[key]) for key in ("folding", "unoptimized", "optimized")}
    unmodelled = tuple(certificate["reference_unmodelled"])
    rebuilt = Certificate(**{**certificate, **steps, "reference_unmodelled": unmodelled})
    return Parity(**{**content, "certificate": rebuilt})


def _target(content: dict[str, Any]) -> Target:
    attempts = tuple(Attempt(**attempt) for attempt in content["attempts"])
    return Target(**{**content, "attempts": attempts})


def load_record(folder: Path) -> Record:
    """Read the record of a run folder.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    path = folder / RECORD_FILE
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as problem:
        raise StoreError(f"no readable record in {folder}: {problem}") from problem
    except StoreError as problem:
        raise StoreError(f"{path}: {problem}") from problem
