"""Training in several processes: how their failures reach the user, and who ends them."""

import time
from multiprocessing import get_context

import pytest
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig, TrainerConfig
from qatexp.errors import TrainingError
from qatexp.stages.train import _launch

CONFIG = ExperimentConfig(
    "x", ModelConfig("a.b"), DatasetConfig("a.b"), trainer=TrainerConfig(devices=2)
)
RAISED = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "train.py", line 1, in train_
    raise TrainingError(...)
qatexp.errors.TrainingError: the loss of qat is not finite in epoch 1
"""


class Fails:
    def __init__(self, problem):
        self.problem = problem

    def launch(self, *_):
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        pytest.param(
            ProcessRaisedException(RAISED, 1, 2),
            "the loss of qat is not finite in epoch 1",
            id="an error",
        ),
        pytest.param(
            ProcessExitedException("process 0 terminated with signal SIGKILL", 0, 2, -9),
            "process 0 terminated with signal SIGKILL",
            id="killed",
        ),
    ],
)
def test_a_process_that_fails_is_told_in_one_line(tmp_path, problem, reason):
    with pytest.raises(TrainingError) as caught:
        _launch(Fails(problem), CONFIG, "qat", {}, tmp_path)
    assert str(caught.value) == f"in a process of trainer.devices=2: {reason}"


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
