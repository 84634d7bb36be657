import torch

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig, TrainerConfig
from qatexp.stages.context import Context
from qatexp.stages.data import _own_threads, data
from qatexp.store.stage_cache import StageCache


def test_threads_of_one_trial_are_not_those_of_the_next(tmp_path):
    """The trials of a sweep share a process, and a thread count belongs to one of them."""

    def threads_with(threads):
        dataset = DatasetConfig("qatexp.data.sources.digits")
        trainer = TrainerConfig(threads=threads)
        config = ExperimentConfig("x", ModelConfig("a.b"), dataset, device="cpu", trainer=trainer)
        data(Context(config, tmp_path, StageCache(None), lambda *_: None))
        return torch.get_num_threads()

    own = torch.get_num_threads()
    _own_threads.cache_clear()
    try:
        assert [threads_with(each) for each in (own + 1, None, 1, None)] == [own + 1, own, 1, own]
    finally:
        torch.set_num_threads(own)
        _own_threads.cache_clear()
