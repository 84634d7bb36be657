"""Errors that users can act on: each says what was wrong, what is allowed, and what to do.

Everything that the package raises on purpose is a `QatexpError`, shown as one message without a
traceback (set ``debug=true`` to see it). Any other exception is a defect of the program.
"""

from __future__ import annotations


class QatexpError(Exception):
    """Base of all errors shown to users; `kind` names the class of failure in records."""

    kind = "error"


class ConfigError(QatexpError):
    """The request itself is wrong: nothing was started and nothing was written (exit code 2)."""

    kind = "config"


class DataError(QatexpError):
    """A data set is missing, empty, unreadable or inconsistent."""

    kind = "data"


class ModelError(QatexpError):
    """A model cannot be built, loaded, captured, or does not fit the data."""

    kind = "model"


class TrainingError(QatexpError):
    """Training cannot go on, for instance after a non-finite loss."""

    kind = "training"


class NonFiniteLossError(TrainingError):
    """The loss became infinite or NaN."""

    kind = "non_finite_loss"


class MemoryLimitError(QatexpError):
    """The memory of the machine or of its GPU does not suffice."""

    kind = "out_of_memory"


class QuantizationError(QatexpError):
    """A model cannot be quantized as the configuration asks."""

    kind = "quantization"


class ExportError(QatexpError):
    """A model cannot be written as, or run from, a deployable file."""

    kind = "export"


class StoreError(QatexpError):
    """A folder or file of a run cannot be written or read."""

    kind = "store"


class TrackingError(QatexpError):
    """The tracking server or store cannot be used."""

    kind = "tracking"


class PrunedError(QatexpError):
    """A search has ended a training whose result it need not see; no failure."""

    kind = "pruned"
