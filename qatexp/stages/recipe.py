"""The recipe of QAT: what is frozen when, wider bits at first, and learning from a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, fx

from qatexp.config.schema import ExperimentConfig
from qatexp.data import ImageData
from qatexp.quantization.oscillation import OscillationWatch
from qatexp.quantization.prepare import (
    freeze_batch_norm_,
    freeze_ranges_,
    quantizer_states,
)
from qatexp.quantization.progressive import ProgressiveBits
from qatexp.quantization.reestimate import reestimate_batch_norm_
from qatexp.stages.calibration import calibrate_on_
from qatexp.training import Distillation, Steering, stage_seed


class QatRecipe(Steering):
    """Steers a training of a prepared graph as `schedule.qat` asks.

    Args:
        graph_module: prepared and calibrated; it is trained in place.
        config: the experiment.
        data: where calibration images come from.
        fabric: ranks agree on ranges that are found anew.
        steps_per_epoch: steps of one epoch.
        distillation: the teacher's part of the loss, None where there is no teacher.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        config: ExperimentConfig,
        data: ImageData,
        *,
        fabric: Fabric,
        steps_per_epoch: int,
        distillation: Distillation | None,
    ) -> None:
        self.schedule = config.schedule.qat
        super().__init__(label_smoothing=self.schedule.label_smoothing)
        self.oscillation: dict[str, float] = {}
        self._graph_module, self._config, self._data = graph_module, config, data
        self._fabric, self._distillation = fabric, distillation
        self._watch = OscillationWatch(graph_module, steps_per_epoch=steps_per_epoch)
        progressive = self.schedule.progressive
        self._progressive = ProgressiveBits(
            graph_module,
            progressive.bits,
            qconfig=config.qconfig,
            share=progressive.share,
            calibrate_=self._calibrate_,
        )
        self._frozen: set[str] = set()

    def before_step(self, share: float) -> None:
        """Change bits, freeze ranges and freeze batch norm, each when its share is reached."""
        self._progressive.advance_(share)
        if share >= self.schedule.freeze_observers_at and "ranges" not in self._frozen:
            self._frozen.add("ranges")
            freeze_ranges_(self._graph_module)
        if share >= self.schedule.freeze_bn_at and "batch norm" not in self._frozen:
            self._frozen.add("batch norm")
            freeze_batch_norm_(self._graph_module)

    def loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, and the teacher's part where there is one."""
        cross_entropy = super().loss(logits, images, labels)
        if self._distillation is None:
            return cross_entropy
        return self._distillation.loss(cross_entropy, logits, images)

    def after_step(self, step: int) -> None:
        """Watch which codes flip."""
        self._watch.after_step(step)

    def end_epoch(self) -> float | None:
        """Mean over the layers of the share of weights that flip in one step."""
        self.oscillation = self._watch.end_epoch()
        return fmean(self.oscillation.values()) if self.oscillation else None

    def state(self) -> dict[str, Any]:
        """Bits, what is frozen, and the oscillation of the epoch before."""
        return {
            "progressive": self._progressive.state(),
            "frozen": sorted(self._frozen),
            "watch": self._watch.state(),
            "oscillation": dict(self.oscillation),
        }

    def restore_(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the model's own tensors have to follow."""
        self._progressive.restore_(state["progressive"])
        self._frozen = set(state["frozen"])
        freeze_ranges_(self._graph_module, "ranges" in self._frozen)
        freeze_batch_norm_(self._graph_module, "batch norm" in self._frozen)
        self._watch.restore_(state["watch"])
        self.oscillation = dict(state["oscillation"])

    def finish_(self) -> None:
        """Find batch-norm statistics anew, if asked for, once the training is over."""
        if self.schedule.reestimate_bn > 0:
            seed = stage_seed(self._config.seed, "reestimate_bn")
            batches = self._data.calibration_batches(self.schedule.reestimate_bn, seed=seed)
            reestimate_batch_norm_(self._graph_module, batches)

    def _calibrate_(self) -> None:
        calibrate_on_(self._graph_module, self._config, self._data)
        self._graph_module.train()
        if self._fabric.world_size > 1:
            # Batch-norm statistics, and ranges with them, differ a little from rank to rank.
            for tensor in quantizer_states(self._graph_module):
                tensor.copy_(self._fabric.broadcast(tensor))
