"""The typed schema under the YAML files of ``conf/``: every key, its type, default and limits.

`slots=True` throughout: without it OmegaConf attaches unknown keys silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from qatexp.config.constraints import Each, Range, limited


class Backend(Enum):
    """Numeric scheme of a deployment target (see `qatexp.quantization.backends`)."""

    onnxruntime = "onnxruntime"
    x86 = "x86"
    fbgemm = "fbgemm"
    xnnpack = "xnnpack"
    qnnpack = "qnnpack"
    litert = "litert"
    tensorrt = "tensorrt"
    openvino = "openvino"


class Granularity(Enum):
    """How many values share one weight scale."""

    per_channel = "per_channel"
    per_tensor = "per_tensor"


class QuantizerName(Enum):
    """How quantization ranges are found during QAT."""

    lsq = "lsq"
    minmax_ema = "minmax_ema"
    pact = "pact"
    dorefa = "dorefa"


class CalibrationMethod(Enum):
    """How activation ranges are found after training."""

    minmax = "minmax"
    moving_average = "moving_average"
    percentile = "percentile"
    histogram = "histogram"
    mse = "mse"


class Decay(Enum):
    """How the learning rate falls after the warm-up; short: in the last `decay_epochs` alone."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"
    short = "short"


class Select(Enum):
    """Which epoch's weights a training keeps."""

    best = "best"
    last = "last"


class Teacher(Enum):
    """Which FP32 network a distillation learns from."""

    fp32 = "fp32"
    control = "control"


class Placement(Enum):
    """Whether images live in memory, decoded once, or are read anew every epoch."""

    auto = "auto"
    memory = "memory"
    stream = "stream"


class Budget(Enum):
    """What an automatic choice of bits may spend: bytes of the file, or operations on bits."""

    size_bytes = "size_bytes"
    bops = "bops"


class Pack(Enum):
    """How weights of 4 and fewer bits are stored: behind a Cast to int8, directly, or as int8."""

    cast = "cast"
    direct = "direct"
    none = "none"


BITS = Range(2, 8)
FRACTION = Range(0.0, 1.0)
AT_LEAST_ZERO = Range(0)
AT_LEAST_ONE = Range(1)
POSITIVE = Range(0.0, above=True)


@dataclass(slots=True)
class WeightConfig:
    """How weights are quantized; always symmetric, as every integer convolution kernel wants.

    `bits: null` leaves them in float.
    """

    bits: int | None = field(default=8, metadata=limited(BITS))
    granularity: Granularity = Granularity.per_channel


@dataclass(slots=True)
class ActivationConfig:
    """How activations are quantized. `symmetric: null` takes the backend's own scheme.

    `bits: null` leaves them in float.
    """

    bits: int | None = field(default=8, metadata=limited(BITS))
    symmetric: bool | None = None


@dataclass(slots=True)
class CalibrationConfig:
    """How initial activation ranges are found; `percentile` is read by that method alone."""

    method: CalibrationMethod = CalibrationMethod.mse
    batches: int = field(default=8, metadata=limited(AT_LEAST_ONE))
    percentile: float = field(default=99.99, metadata=limited(Range(50.0, 100.0, above=True)))


@dataclass(slots=True)
class LayerRule:
    """An exception for the layers whose module name matches the shell-style pattern `match`."""

    match: str
    weight_bits: int | None = field(default=None, metadata=limited(BITS))
    activation_bits: int | None = field(default=None, metadata=limited(BITS))
    granularity: Granularity | None = None
    skip: bool = False


@dataclass(slots=True)
class AutoConfig:
    """Bits chosen layer by layer under a `budget`; null: the bits that are configured.

    The budget is `target`, in bytes or bit operations, or what uniform `target_bits` need. Layers
    are tried at each of `choices`, on `batches` of `dataset.eval_batch_size` training images.
    """

    budget: Budget | None = None
    target: float | None = field(default=None, metadata=limited(POSITIVE))
    target_bits: int | None = field(default=None, metadata=limited(BITS))
    choices: list[int] = field(
        default_factory=lambda: [2, 3, 4, 6, 8], metadata=limited(Each(BITS))
    )
    batches: int = field(default=1, metadata=limited(AT_LEAST_ONE))


@dataclass(slots=True)
class QConfig:
    """What is quantized: bits, granularity, scheme, ranges and exceptions."""

    bits: int = field(default=8, metadata=limited(BITS))
    weight: WeightConfig = field(default_factory=WeightConfig)
    activation: ActivationConfig = field(default_factory=ActivationConfig)
    backend: Backend = Backend.onnxruntime
    quantizer: QuantizerName = QuantizerName.lsq
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    first_last_bits: int | None = field(default=8, metadata=limited(BITS))
    layers: list[LayerRule] = field(default_factory=list)
    auto: AutoConfig = field(default_factory=AutoConfig)


@dataclass(slots=True)
class Fp32Schedule:
    """Training of the FP32 baseline. `lr` is also what the QAT learning rate is scaled from.

    With `decay: short` the rate stays, and falls like a cosine in the last `decay_epochs`.
    Trainings that differ in `epochs` alone then share the epochs before, through the stage cache.
    """

    epochs: int = field(default=10, metadata=limited(AT_LEAST_ZERO))
    lr: float = field(default=0.1, metadata=limited(POSITIVE))
    momentum: float | None = field(default=0.9, metadata=limited(FRACTION))
    weight_decay: float = field(default=5e-4, metadata=limited(AT_LEAST_ZERO))
    warmup_epochs: float = field(default=0.0, metadata=limited(AT_LEAST_ZERO))
    decay: Decay = Decay.cosine
    decay_epochs: int = field(default=1, metadata=limited(AT_LEAST_ONE))
    label_smoothing: float = field(default=0.0, metadata=limited(FRACTION))
    clip_grad_norm: float | None = field(default=None, metadata=limited(POSITIVE))
    select: Select = Select.best


@dataclass(slots=True)
class DistillConfig:
    """Learning from the logits of an FP32 network. `weight` is their share of the loss; 0 is off.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531.
    """

    weight: float = field(default=0.0, metadata=limited(FRACTION))
    temperature: float = field(default=4.0, metadata=limited(POSITIVE))
    teacher: Teacher = Teacher.fp32


@dataclass(slots=True)
class ProgressiveConfig:
    """Wider bits at the start: `bits` in falling order share the first `share` of the steps."""

    bits: list[int] = field(default_factory=list, metadata=limited(Each(BITS, empty=True)))
    share: float = field(default=0.5, metadata=limited(FRACTION))


@dataclass(slots=True)
class QatSchedule:
    """Fine-tuning with quantization in the loop, at ``schedule.fp32.lr * lr_scale``.

    `freeze_observers_at` and `freeze_bn_at` are shares of the training steps, with `decay: short`
    of those of the last `decay_epochs`; 1.0 never freezes.
    `scale_lr` is the learning rate of learned ranges relative to that of weights. `reestimate_bn`
    is the number of training batches from which batch-norm statistics are found anew at the end.
    """

    epochs: int = field(default=5, metadata=limited(AT_LEAST_ZERO))
    lr_scale: float = field(default=0.1, metadata=limited(POSITIVE))
    momentum: float | None = field(default=0.9, metadata=limited(FRACTION))
    weight_decay: float = field(default=5e-4, metadata=limited(AT_LEAST_ZERO))
    warmup_epochs: float = field(default=0.0, metadata=limited(AT_LEAST_ZERO))
    decay: Decay = Decay.cosine
    decay_epochs: int = field(default=1, metadata=limited(AT_LEAST_ONE))
    label_smoothing: float = field(default=0.0, metadata=limited(FRACTION))
    clip_grad_norm: float | None = field(default=None, metadata=limited(POSITIVE))
    select: Select = Select.last
    scale_lr: float = field(default=1.0, metadata=limited(POSITIVE))
    scale_weight_decay: float = field(default=0.0, metadata=limited(AT_LEAST_ZERO))
    freeze_observers_at: float = field(default=0.33, metadata=limited(FRACTION))
    freeze_bn_at: float = field(default=0.75, metadata=limited(FRACTION))
    reestimate_bn: int = field(default=0, metadata=limited(AT_LEAST_ZERO))
    distill: DistillConfig = field(default_factory=DistillConfig)
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)


@dataclass(slots=True)
class ScheduleConfig:
    """Training of the FP32 baseline, of the QAT model and, where asked for, of the control."""

    fp32: Fp32Schedule = field(default_factory=Fp32Schedule)
    qat: QatSchedule = field(default_factory=QatSchedule)
    control: bool = False
    optimizer: dict[str, Any] = field(default_factory=lambda: {"_target_": "torch.optim.SGD"})


@dataclass(slots=True)
class AugmentConfig:
    """Random changes of training images; the geometry is in pixels of the final image."""

    flip: bool = False
    crop_padding: int = field(default=0, metadata=limited(AT_LEAST_ZERO))
    random_resized_crop: bool = False


@dataclass(slots=True)
class DatasetConfig:
    """The keys that every data set understands; `options` holds its own keyword arguments.

    `val_fraction` of the training images selects the model; the test images only report.
    `mean` and `std` are per channel, of images scaled to 0..1.
    """

    target: str
    root: str | None = None
    download: bool = False
    image_size: int | None = field(default=None, metadata=limited(AT_LEAST_ONE))
    resize_size: int | None = field(default=None, metadata=limited(AT_LEAST_ONE))
    batch_size: int = field(default=128, metadata=limited(AT_LEAST_ONE))
    eval_batch_size: int = field(default=250, metadata=limited(AT_LEAST_ONE))
    workers: int = field(default=2, metadata=limited(AT_LEAST_ZERO))
    placement: Placement = Placement.auto
    memory_limit_mb: int = field(default=2000, metadata=limited(AT_LEAST_ONE))
    val_fraction: float = field(default=0.1, metadata=limited(Range(0.0, 0.9)))
    split_seed: int = field(default=0, metadata=limited(AT_LEAST_ZERO))
    mean: list[float] | None = None
    std: list[float] | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short name for tables: the last part of the target, `digits` for instance."""
        return self.target.rpartition(".")[2]


@dataclass(slots=True)
class ModelConfig:
    """A callable that builds the network, its keyword arguments and where its weights come from."""

    target: str
    checkpoint: str | None = None
    pretrained: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short name for tables: the last part of the target, `mobilenet_v2` for instance."""
        return self.target.rpartition(".")[2]


@dataclass(slots=True)
class TrainerConfig:
    """Where training runs: lightning-fabric's names for devices and precision.

    After an epoch that ends `checkpoint_seconds` or more after the last checkpoint a training
    writes another, from which it continues bit for bit when it was cut off; 0: after every epoch.
    """

    devices: int = field(default=1, metadata=limited(AT_LEAST_ONE))
    precision: str = "32-true"
    threads: int | None = field(default=None, metadata=limited(AT_LEAST_ONE))
    checkpoint_seconds: float = field(default=30.0, metadata=limited(AT_LEAST_ZERO))


@dataclass(slots=True)
class TargetConfig:
    """Stop at the cheapest file that loses at most `max_drop` points of top-1; null: no target.

    PTQ is tried first, then QAT with each of `epochs`, which take the place of
    `schedule.qat.epochs`.
    """

    max_drop: float | None = field(default=None, metadata=limited(AT_LEAST_ZERO))
    epochs: list[int] = field(
        default_factory=lambda: [1, 2, 5, 10], metadata=limited(Each(AT_LEAST_ONE))
    )


@dataclass(slots=True)
class ExportConfig:
    """How files are written. `opset: null` takes 21, or 25 where weights are stored as INT2."""

    opset: int | None = field(default=None, metadata=limited(Range(21, 25)))
    dynamic_batch: bool = True
    pack: Pack = Pack.cast


@dataclass(slots=True)
class MeasureConfig:
    """How exported files are timed. The first batch size and thread count make the table.

    `certificate_images` is the number of test images on which every step from the trained model to
    the file is compared, code for code; fewer where activations are large, 0 for none.
    """

    threads: Any = 1
    batch_sizes: list[int] = field(
        default_factory=lambda: [1], metadata=limited(Each(AT_LEAST_ONE))
    )
    warmup: int = field(default=10, metadata=limited(AT_LEAST_ZERO))
    rounds: int = field(default=40, metadata=limited(AT_LEAST_ONE))
    min_round_ms: float = field(default=5.0, metadata=limited(AT_LEAST_ZERO))
    certificate_images: int = field(default=256, metadata=limited(AT_LEAST_ZERO))

    @property
    def thread_counts(self) -> list[int]:
        """`threads` as a list: users may give one number or several."""
        return [self.threads] if isinstance(self.threads, int) else list(self.threads)


@dataclass(slots=True)
class RegistryConfig:
    """Under which registered model a sweep's best trial becomes a version, and with which alias.

    `model: null` takes the names of model and data set: ``resnet8-digits``.
    """

    enabled: bool = True
    model: str | None = None
    alias: str = "best"


@dataclass(slots=True)
class TrackingConfig:
    """Where runs are logged. `uri: null` means `MLFLOW_TRACKING_URI`, else the local store."""

    enabled: bool = True
    uri: str | None = None
    experiment: str = "qatexp"
    registry: RegistryConfig = field(default_factory=RegistryConfig)


@dataclass(slots=True)
class CacheConfig:
    """Finished stages are kept under `dir` and reused; `enabled: false` computes everything."""

    enabled: bool = True
    dir: str = "multirun/.stages"


@dataclass(slots=True)
class SweepConfig:
    """What happens around the trials of a sweep; nothing of it changes a trial's figures.

    `resume`: auto goes on with the newest sweep of the same points, never starts a new one, and a
    folder goes on with the sweep in it. After `max_failures` failed trials no further one starts.
    `points` is a YAML file with a list of points; `exclude` leaves out the points for which one of
    its expressions holds. `select` chooses the best trial, see `qatexp.config.criteria`. In a
    search, QAT of a trial is pruned where a finished one that is no larger and no slower was better
    by more than `prune_margin` points of validation top-1 at the same epoch; null: never.
    """

    resume: str = "auto"
    max_failures: int | None = field(default=None, metadata=limited(AT_LEAST_ONE))
    points: str | None = None
    exclude: list[str] = field(default_factory=list)
    prune_margin: float | None = field(default=None, metadata=limited(AT_LEAST_ZERO))
    select: list[str] = field(
        default_factory=lambda: ["max:val_top1", "min:size_bytes", "min:latency_ms_p50"]
    )


@dataclass(slots=True)
class DebugConfig:
    """Aids for development: tracebacks, and a limit on the batches of every training epoch."""

    traceback: bool = False
    limit_batches: int | None = field(default=None, metadata=limited(AT_LEAST_ONE))


@dataclass(slots=True)
class ExperimentConfig:
    """One whole experiment, checked and ready to run."""

    name: str
    model: ModelConfig
    dataset: DatasetConfig
    seed: int = field(default=0, metadata=limited(AT_LEAST_ZERO))
    device: str = "auto"
    trusted_packages: list[str] = field(default_factory=list)
    qconfig: QConfig = field(default_factory=QConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
