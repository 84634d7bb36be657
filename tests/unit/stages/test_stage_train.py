"""Training in several processes: how their failures reach the user, and who ends them."""

import time
from multiprocessing import get_context

import pytest
from qat_case import CPU, calibrated, qat_config
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    ProgressiveConfig,
    TrainerConfig,
)
from qatexp.errors import TrainingError
from qatexp.stages.train import _Job, _launch, _train_
from qatexp.training import make_fabric

CONFIG = ExperimentConfig(
    "x", ModelConfig("a.b"), DatasetConfig("a.b"), trainer=TrainerConfig(devices=2)
)
RAISED = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "train.py", line 1, in train_
    raise NonFiniteLossError(...)
qatexp.errors.NonFiniteLossError: the loss of qat is not finite in epoch 1
"""


class Fails:
    def __init__(self, problem):
        self.problem = problem

    def launch(self, *_):
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "reason", "kind"),
    [
        pytest.param(
            ProcessRaisedException(RAISED, 1, 2),
            "the loss of qat is not finite in epoch 1",
            "non_finite_loss",
            id="an error",
        ),
        pytest.param(
            ProcessExitedException("process 0 terminated with signal SIGKILL", 0, 2, -9),
            "process 0 terminated with signal SIGKILL",
            "training",
            id="killed",
        ),
    ],
)
def test_a_process_that_fails_is_told_in_one_line(tmp_path, problem, reason, kind):
    with pytest.raises(TrainingError) as caught:
        _launch(Fails(problem), CONFIG, "qat", {}, tmp_path)
    assert str(caught.value) == f"in a process of trainer.devices=2: {reason}"
    assert caught.value.kind == kind


def test_an_interrupt_ends_the_processes_that_were_started(tmp_path):
    started = []

    class Interrupted:
        def launch(self, *_):
            process = get_context("spawn").Process(target=time.sleep, args=(60,))
            process.start()
            started.append(process)
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        _launch(Interrupted(), CONFIG, "fp32", {}, tmp_path)
    started[0].join(30)
    assert started[0].exitcode is not None
    assert started[0].exitcode != 0


def test_progressive_bits_need_a_step_at_their_end(tmp_path):
    """Else the file has the wider bits, and a restored training others than the record says."""
    config = qat_config("lsq", epochs=1, progressive=ProgressiveConfig([8], share=0.9))
    data, graph_module = calibrated(config)
    fabric = make_fabric(config.trainer, CPU)
    job = _Job(fabric, config, data, "qat", tmp_path)
    with pytest.raises(TrainingError) as problem:
        _train_(job, graph_module, None, None)
    assert str(problem.value) == (
        "schedule.qat.progressive.share=0.9 leaves none of the 5 steps of QAT to the bits that it "
        "ends with; lower it, or raise schedule.qat.epochs."
    )
    assert list(tmp_path.iterdir()) == []
