"""Checks that involve several keys, or the files that a key names: all before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qatexp.config.constraints import Range
from qatexp.config.criteria import check_selection
from qatexp.config.images import check_images
from qatexp.config.layout import LAYOUT, layout_problem
from qatexp.config.schema import (
    Backend,
    Budget,
    Decay,
    ExperimentConfig,
    Pack,
    QConfig,
    Select,
    Teacher,
)
from qatexp.config.targets import check_target
from qatexp.errors import ConfigError

IMPLEMENTED_BACKENDS = (
    Backend.onnxruntime,
    Backend.x86,
    Backend.fbgemm,
    Backend.xnnpack,
    Backend.qnnpack,
)
_IMAGEFOLDER = "qatexp.data.sources.imagefolder"
_DOWNLOADS = (
    "the folder that holds the images (or, with dataset.download=true, that they are downloaded to)"
)
_OR_DOWNLOAD = ", or set dataset.download=true where the data set can be downloaded"
_NEED_ROOT = {
    f"qatexp.data.sources.{name}"
    for name in ("cifar10", "cifar100", "fashion_mnist", "imagefolder")
}
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check(config: ExperimentConfig) -> None:
    """Check everything that one field's type and range cannot say.

    Raises:
        ConfigError: for the first key that does not fit.
    """
    _check_targets(config)
    _check_files(config)
    _check_device(config)
    _check_quantization(config)
    _check_recipe(config)
    _check_packing(config)
    _check_target(config)
    _check_auto(config)
    _check_threads(config)
    check_images(config.dataset)
    _check_batch(config)
    check_selection(config)


def _check_targets(config: ExperimentConfig) -> None:
    targets = {
        "model._target_": config.model.target,
        "dataset._target_": config.dataset.target,
        "schedule.optimizer._target_": config.schedule.optimizer.get("_target_", ""),
    }
    for key, target in targets.items():
        check_target(str(target), key=key, trusted=config.trusted_packages)


def _check_files(config: ExperimentConfig) -> None:
    checkpoint, root = config.model.checkpoint, config.dataset.root
    if checkpoint is not None:
        with _readable("model.checkpoint", checkpoint):
            _check_checkpoint(checkpoint)
        if config.model.pretrained:
            raise ConfigError(
                f"model.checkpoint={checkpoint} and model.pretrained=true exclude each other; "
                "set one of them."
            )
    if root is None and config.dataset.target in _NEED_ROOT:
        what = f"a folder with {LAYOUT}" if config.dataset.target == _IMAGEFOLDER else _DOWNLOADS
        raise ConfigError(f"dataset.root is not set, and {config.dataset.name} needs it: {what}.")
    if root is not None and not config.dataset.download:
        with _readable("dataset.root", root):
            _check_root(root, config.dataset.target)


@contextmanager
def _readable(key: str, path: str) -> Iterator[None]:
    """Turn what the system says about a path, a name too long for instance, into our error."""
    try:
        yield
    except (OSError, RuntimeError) as problem:  # RuntimeError: ~name of nobody
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigError(f"{key}={path} cannot be read: {reason}") from problem


def _check_checkpoint(checkpoint: str) -> None:
    if not Path(checkpoint).expanduser().is_file():
        raise ConfigError(
            f"model.checkpoint={checkpoint}: there is no such file (looked in {Path.cwd()})."
        )


def _check_root(root: str, target: str) -> None:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        download = "" if target == _IMAGEFOLDER else _OR_DOWNLOAD
        raise ConfigError(
            f"dataset.root={root}: there is no such folder (looked in {Path.cwd()}); "
            f"name the folder that holds the images{download}."
        )
    if not any(folder.iterdir()):
        raise ConfigError(f"dataset.root={root}: the folder is empty.")
    if target == _IMAGEFOLDER and (problem := layout_problem(folder)) is not None:
        raise ConfigError(f"dataset.root={root} {problem}.")


def _check_device(config: ExperimentConfig) -> None:
    if not _DEVICE.fullmatch(config.device):
        raise ConfigError(
            f"device={config.device} is not possible; allowed: auto, cpu, cuda, cuda:NUMBER."
        )
    if config.trainer.precision not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={config.trainer.precision} is not possible; "
            f"allowed: {', '.join(PRECISIONS)}."
        )


def _check_quantization(config: ExperimentConfig) -> None:
    qconfig = config.qconfig
    if qconfig.backend not in IMPLEMENTED_BACKENDS:
        names = ", ".join(backend.name for backend in IMPLEMENTED_BACKENDS)
        raise ConfigError(
            f"qconfig.backend={qconfig.backend.name} is not supported by this version; "
            f"allowed: {names}."
        )
    weight, activation = qconfig.weight.bits, qconfig.activation.bits
    if weight is None and activation is None:
        raise ConfigError(
            "qconfig.weight.bits=null and qconfig.activation.bits=null leave nothing to quantize; "
            "set one of them to 2..8."
        )
    for index, rule in enumerate(qconfig.layers):
        for key, bits, chosen in (
            ("weight", weight, rule.weight_bits),
            ("activation", activation, rule.activation_bits),
        ):
            if bits is None and chosen is not None:
                raise ConfigError(
                    f"qconfig.layers[{index}].{key}_bits={chosen} is not possible with "
                    f"qconfig.{key}.bits=null, which leaves all of them in float."
                )
        changes = (rule.weight_bits, rule.activation_bits, rule.granularity)
        if not rule.skip and all(change is None for change in changes):
            raise ConfigError(
                f"qconfig.layers[{index}] (match={rule.match}) changes nothing; give weight_bits, "
                "activation_bits, granularity or skip=true."
            )


def _check_recipe(config: ExperimentConfig) -> None:
    qat = config.schedule.qat
    teacher = qat.distill.teacher
    if qat.distill.weight > 0 and teacher is Teacher.control and not config.schedule.control:
        raise ConfigError(
            "schedule.qat.distill.teacher=control needs the control: set schedule.control=true, "
            "or take the teacher fp32."
        )
    bits = qat.progressive.bits
    if bits != sorted(set(bits), reverse=True):
        raise ConfigError(
            f"schedule.qat.progressive.bits={bits} is not possible; allowed: different numbers in "
            "falling order, e.g. [8, 4]."
        )
    if bits and qat.select is Select.best:
        raise ConfigError(
            f"schedule.qat.progressive.bits={bits} and schedule.qat.select=best exclude each "
            "other: an early epoch at wider bits would win; set schedule.qat.select=last."
        )
    if bits and qat.progressive.share == 1:
        raise ConfigError(
            "schedule.qat.progressive.share=1.0 is not possible; allowed: below 1, as the bits "
            "that training ends with need some of its steps."
        )
    if bits and qat.decay is Decay.short:
        raise ConfigError(
            f"schedule.qat.progressive.bits={bits} and schedule.qat.decay=short exclude each "
            "other: how long wider bits last depends on the number of epochs; set "
            "schedule.qat.decay=cosine."
        )
    if bits and min(bits) <= (narrowest := _narrowest_bits(config.qconfig)):
        wider = f"{narrowest + 1} to 8" if narrowest < 8 else "none"
        raise ConfigError(
            f"schedule.qat.progressive.bits={bits} is not possible: training starts at wider bits "
            f"than it ends with, and the narrowest of qconfig are {narrowest}; allowed: {wider}. "
            "Lower qconfig.bits, or set schedule.qat.progressive.bits=[]."
        )


def _narrowest_bits(qconfig: QConfig) -> int:
    """The fewest bits that a quantizer may end with."""
    found = [qconfig.weight.bits, qconfig.activation.bits, qconfig.first_last_bits]
    found += [bits for rule in qconfig.layers for bits in (rule.weight_bits, rule.activation_bits)]
    found += qconfig.auto.choices if qconfig.auto.budget is not None else []
    return min(bits for bits in found if bits is not None)


def _check_target(config: ExperimentConfig) -> None:
    epochs = config.target.epochs
    if epochs != sorted(set(epochs)):
        raise ConfigError(
            f"target.epochs={epochs} is not possible; allowed: different numbers in rising order, "
            "e.g. [1, 2, 5]."
        )
    distill = config.schedule.qat.distill
    with_control = distill.weight > 0 and distill.teacher is Teacher.control
    if config.target.max_drop is not None and with_control:
        raise ConfigError(
            "target.max_drop and schedule.qat.distill.teacher=control exclude each other: how long "
            "the control trains is known only when the target is reached; take the teacher fp32."
        )


def _check_packing(config: ExperimentConfig) -> None:
    qconfig = config.qconfig
    rules = {
        f"qconfig.layers[{index}].weight_bits": rule.weight_bits
        for index, rule in enumerate(qconfig.layers)
    }
    everywhere = {
        "qconfig.weight.bits": qconfig.weight.bits,
        "qconfig.first_last_bits": qconfig.first_last_bits,
    }
    for key, bits in (everywhere | rules).items():
        if config.export.pack is Pack.direct and bits == 2:
            raise ConfigError(
                f"{key}=2 is not possible with export.pack=direct: ONNX Runtime does not load INT2 "
                "that DequantizeLinear reads; use export.pack=cast, or 3 and more bits."
            )


def _check_auto(config: ExperimentConfig) -> None:
    auto = config.qconfig.auto
    choices = auto.choices
    if sorted(set(choices)) != choices:
        raise ConfigError(
            f"qconfig.auto.choices={choices} is not possible; allowed: different bits in rising "
            "order."
        )
    targets = {"target": auto.target, "target_bits": auto.target_bits}
    given = [name for name, value in targets.items() if value is not None]
    if auto.budget is None and given:
        raise ConfigError(
            f"qconfig.auto.{given[0]}={targets[given[0]]} needs a budget; set qconfig.auto.budget "
            f"to {' or '.join(budget.name for budget in Budget)}."
        )
    if auto.budget is not None and len(given) != 1:
        raise ConfigError(
            f"qconfig.auto.budget={auto.budget.name} needs one of qconfig.auto.target (a number) "
            f"and qconfig.auto.target_bits (as much as uniform bits need); {len(given)} are set."
        )
    in_float = {
        "weight": config.qconfig.weight.bits is None,
        "activation": config.qconfig.activation.bits is None,
    }
    if auto.budget is not None and any(in_float.values()):
        key = next(name for name, absent in in_float.items() if absent)
        raise ConfigError(
            f"qconfig.{key}.bits=null and qconfig.auto.budget={auto.budget.name} exclude each "
            "other: bits are chosen for weights and activations that are quantized; set "
            f"qconfig.{key}.bits to 2..8."
        )
    if auto.budget is not None and config.export.pack is Pack.direct and 2 in choices:
        raise ConfigError(
            "export.pack=direct stores no 2-bit weights, and qconfig.auto may choose them; take 2 "
            "out of qconfig.auto.choices, or use export.pack=cast."
        )


def _check_threads(config: ExperimentConfig) -> None:
    threads = config.measure.threads
    counts = [threads] if not isinstance(threads, list) else threads
    allowed = Range(1)
    whole = all(isinstance(count, int) and not isinstance(count, bool) for count in counts)
    if not counts or not whole or any(allowed.violation(count) for count in counts):
        raise ConfigError(
            f"measure.threads={threads} is not possible; allowed: a whole number from 1, "
            "or a list of such numbers."
        )


def _check_batch(config: ExperimentConfig) -> None:
    batch, devices = config.dataset.batch_size, config.trainer.devices
    if batch % devices != 0:
        raise ConfigError(
            f"dataset.batch_size={batch} cannot be divided by trainer.devices={devices}; "
            f"allowed: multiples of {devices}."
        )
    sizes = config.measure.batch_sizes
    if not config.export.dynamic_batch and any(size != 1 for size in sizes):
        raise ConfigError(
            f"measure.batch_sizes={sizes} is not possible with export.dynamic_batch=false, which "
            "fixes the batch to 1; allowed: [1], or set export.dynamic_batch=true."
        )
