"""Train and evaluate: knows callables and batches, but no data set, quantizer or runtime."""

from __future__ import annotations

from qatexp.training.checkpoint import Checkpoints
from qatexp.training.epochs import EpochLog
from qatexp.training.evaluate import Scores, evaluate
from qatexp.training.fabric import device_of, make_fabric, seed_everything, stage_seed
from qatexp.training.loop import Keeper, TrainingData, train_
from qatexp.training.plan import TrainPlan
from qatexp.training.steering import Distillation, Steering

__all__ = [
    "Checkpoints",
    "Distillation",
    "EpochLog",
    "Keeper",
    "Scores",
    "Steering",
    "TrainPlan",
    "TrainingData",
    "device_of",
    "evaluate",
    "make_fabric",
    "seed_everything",
    "stage_seed",
    "train_",
]
