"""Figures of runs and sweeps as PNG files."""

from qatexp.figures.accuracy import accuracy_by_variant
from qatexp.figures.curves import training_curves
from qatexp.figures.sensitivity import sensitivity_by_layer
from qatexp.figures.trade_off import trade_off

__all__ = ["accuracy_by_variant", "sensitivity_by_layer", "trade_off", "training_curves"]
