"""Which images calibration sees, wherever in a run it takes place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, fx

from qatexp.config.schema import ExperimentConfig
from qatexp.data import ImageData
from qatexp.quantization.calibrate import calibrate_
from qatexp.training import stage_seed


def calibration_images(config: ExperimentConfig, data: ImageData) -> Callable[[], Iterator[Tensor]]:
    """The run's calibration batches (N, C, H, W): the same ones at every call."""
    seed = stage_seed(config.seed, "calibration")
    return lambda: data.calibration_batches(config.qconfig.calibration.batches, seed=seed)


def calibrate_on_(graph_module: fx.GraphModule, config: ExperimentConfig, data: ImageData) -> None:
    """Find all ranges of a prepared model on the run's calibration images; it ends in eval mode."""
    calibrate_(graph_module, calibration_images(config, data), config.qconfig.calibration)
