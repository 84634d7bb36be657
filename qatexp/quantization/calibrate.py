"""Initial ranges: watch activations of the FP32 function, then choose a range for each quantizer.

Two passes over the same calibration batches: the first finds minimum and maximum (and their moving
average), the second, only for methods that need it, a histogram between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from qatexp.config.schema import CalibrationConfig, CalibrationMethod
from qatexp.errors import QuantizationError
from qatexp.quantization.fake_quantize import (
    ActivationFakeQuantize,
    WeightFakeQuantize,
)
from qatexp.quantization.prepare import (
    activation_quantizers,
    enable_,
    watching_activations,
    weight_quantizers,
)

BINS = 2048
CANDIDATES = 64
"""Clipping ratios tried, evenly between 1/CANDIDATES and 1 of the observed range."""
EMA_MOMENTUM = 0.1
"""Weight of a new batch in the moving average: calibration sees tens of batches, not thousands."""

_WITH_HISTOGRAM = {CalibrationMethod.percentile, CalibrationMethod.histogram, CalibrationMethod.mse}


@dataclass
class _Statistics:
    """What one activation did over the calibration batches."""

    low: float = float("inf")
    high: float = float("-inf")
    average: tuple[float, float] | None = None
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))

    def observe_range_(self, x: Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(x))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.average is None:
            self.average = low, high
        else:
            keep = 1.0 - EMA_MOMENTUM
            old_low, old_high = self.average
            self.average = (
                keep * old_low + EMA_MOMENTUM * low,
                keep * old_high + EMA_MOMENTUM * high,
            )

    def observe_histogram_(self, x: Tensor) -> None:
        if self.high > self.low:
            # histc counts in float32, which stops at 2^24 per bin.
            for part in x.detach().float().flatten().split(2**24):
                counts = torch.histc(part, bins=BINS, min=self.low, max=self.high)
                self.counts += counts.double().cpu()

    def centres(self) -> Tensor:
        width = (self.high - self.low) / BINS
        return self.low + width * (torch.arange(BINS, dtype=torch.float64) + 0.5)


def calibrate_(
    graph_module: fx.GraphModule,
    batches: Callable[[], Iterator[Tensor]],
    config: CalibrationConfig,
) -> None:
    """Set the range of every quantizer of a prepared model from FP32 activations and weights.

    Args:
        graph_module: prepared model; left in eval mode with its quantizers enabled.
        batches: gives the same calibration batches (N, C, H, W) at every call.
        config: the method (minmax, moving_average, percentile, histogram = least Kullback-Leibler
            divergence, mse = least squared error) and its percentile.

    Raises:
        QuantizationError: there were no calibration images, or activations were not finite.
    """
    choose = observe(graph_module, batches, config)
    for name, quantizer in activation_quantizers(graph_module):
        quantizer.set_range_(*choose(name, quantizer))
    for weight_quantizer, weight in weight_quantizers(graph_module):
        weight_quantizer.set_scale_(weight_scale(weight_quantizer, weight, config.method))
    enable_(graph_module)


def observe(
    graph_module: fx.GraphModule,
    batches: Callable[[], Iterator[Tensor]],
    config: CalibrationConfig,
) -> Callable[[str, ActivationFakeQuantize], tuple[float, float]]:
    """Watch the FP32 activations of a prepared model, whose quantizers are left disabled.

    Returns:
        The choice of a range, for the name of a quantizer and the grid that it has when asked.

    Raises:
        QuantizationError: there were no calibration images.
    """
    statistics: dict[str, _Statistics] = {}
    graph_module.eval()
    enable_(graph_module, False)
    _watch(graph_module, batches, statistics, _Statistics.observe_range_)
    if not statistics and any(True for _ in activation_quantizers(graph_module)):
        raise QuantizationError("no calibration images; check qconfig.calibration.batches")
    if config.method in _WITH_HISTOGRAM:
        _watch(graph_module, batches, statistics, _Statistics.observe_histogram_)
    return lambda name, quantizer: _choose(name, statistics[name], quantizer, config)


def _watch(
    graph_module: fx.GraphModule,
    batches: Callable[[], Iterator[Tensor]],
    statistics: dict[str, _Statistics],
    observe_: Callable[[_Statistics, Tensor], None],
) -> None:
    def see(name: str, _quantizer: ActivationFakeQuantize, output: Tensor) -> None:
        observe_(statistics.setdefault(name, _Statistics()), output)

    with watching_activations(graph_module, see), torch.no_grad():
        for images in batches():
            graph_module(images)


def _choose(
    name: str,
    statistics: _Statistics,
    quantizer: ActivationFakeQuantize,
    config: CalibrationConfig,
) -> tuple[float, float]:
    low, high = statistics.low, statistics.high
    if not (torch.isfinite(torch.tensor([low, high])).all()):
        raise QuantizationError(
            f"the activation at {name} is not finite ({low}..{high}); "
            "the FP32 model is broken, check its checkpoint"
        )
    if config.method is CalibrationMethod.moving_average:
        assert statistics.average is not None
        return statistics.average
    if config.method is CalibrationMethod.minmax or high <= low:
        return low, high
    if config.method is CalibrationMethod.percentile:
        return _percentile_range(statistics, config.percentile / 100.0)
    score = _kl_divergence if config.method is CalibrationMethod.histogram else _squared_error
    return _best_clipping(statistics, quantizer, score)


def _percentile_range(statistics: _Statistics, share: float) -> tuple[float, float]:
    """The central range that holds `share` of all values; one-sided where values start at zero."""
    cumulative = statistics.counts.cumsum(0) / statistics.counts.sum()
    centres = statistics.centres()
    tail = 1.0 - share
    low = statistics.low
    if low < 0:
        low = float(centres[int(torch.searchsorted(cumulative, tail))])
    upper = int(torch.searchsorted(cumulative, share))
    return low, float(centres[min(upper, BINS - 1)])


def _best_clipping(
    statistics: _Statistics,
    quantizer: ActivationFakeQuantize,
    score: Callable[[Tensor, Tensor, Tensor], float],
) -> tuple[float, float]:
    """Shrink the observed range to the one of least score: upper end, lower end, upper end again.

    An outlier lies on one side as a rule, so the two ends are searched apart.
    """
    low, high = statistics.low, statistics.high

    def cost(candidate: tuple[float, float]) -> float:
        quantizer.set_range_(*candidate)
        return score(*_rounded(statistics, quantizer))

    ratios = torch.linspace(1.0, 1.0 / CANDIDATES, CANDIDATES).tolist()
    best = low, high
    for end in ("high", "low", "high") if low < 0 < high else ("high", "low"):
        candidates = [
            (best[0], high * ratio) if end == "high" else (low * ratio, best[1]) for ratio in ratios
        ]
        best = min(candidates, key=cost)
    return best


def _rounded(
    statistics: _Statistics, quantizer: ActivationFakeQuantize
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres of the histogram's bins, those centres quantized, and the counts."""
    centres = statistics.centres()
    step, zero = quantizer.scale.item(), int(quantizer.zero_point)
    codes = (centres / step).round() + zero
    rounded = (codes.clamp(quantizer.quant_min, quantizer.quant_max) - zero) * step
    return centres, rounded, statistics.counts


def _squared_error(values: Tensor, rounded: Tensor, counts: Tensor) -> float:
    return float(((values - rounded).square() * counts).sum())


def _kl_divergence(values: Tensor, rounded: Tensor, counts: Tensor) -> float:
    """Kullback-Leibler divergence of the clipped histogram from its quantized form.

    As in Migacz, "8-bit inference with TensorRT", GTC 2017: what is clipped counts at the end of
    the reference, but not in the quantized form, where the values of one code are spread evenly
    over the non-empty bins that share it.
    """
    inside = (values >= rounded[0]) & (values <= rounded[-1])
    if not inside.any():
        return float("inf")
    first, last = (int(index) for index in inside.nonzero().flatten()[[0, -1]])
    kept = counts * inside
    reference = kept.clone()
    reference[first] += counts[:first].sum()
    reference[last] += counts[last + 1 :].sum()
    code = torch.unique(rounded, return_inverse=True)[1]
    occupied = (kept > 0).double()
    mass = torch.zeros(int(code.max()) + 1, dtype=torch.float64)
    members = mass.clone().scatter_add_(0, code, occupied).clamp_min(1.0)
    mass.scatter_add_(0, code, kept)
    spread = (mass / members)[code] * occupied
    p, q = reference / reference.sum(), spread / spread.sum().clamp_min(1.0)
    seen = p > 0
    return float((p[seen] * (p[seen] / q[seen].clamp_min(1e-12)).log()).sum())


def weight_scale(
    quantizer: WeightFakeQuantize, weight: Tensor, method: CalibrationMethod
) -> Tensor:
    """Scales of least squared error for `mse`, else those of the largest magnitude."""
    absmax = quantizer.absmax_scale(weight)
    if method is not CalibrationMethod.mse or not quantizer.learned:
        return absmax
    best, scale = torch.full_like(absmax, float("inf")), absmax.clone()
    for ratio in torch.linspace(0.2, 1.0, CANDIDATES).tolist():
        candidate = absmax * ratio
        quantizer.set_scale_(candidate)
        steps = candidate.view(-1, *[1] * (weight.dim() - 1))
        squared = (quantizer.codes(weight) * steps - weight.detach()).square()
        error = squared.flatten(1).sum(1) if quantizer.per_channel else squared.sum().view(1)
        scale = torch.where(error < best, candidate, scale)
        best = torch.minimum(best, error)
    return scale
