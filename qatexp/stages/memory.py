"""Failures for want of memory, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qatexp.errors import MemoryLimitError

ADVICE = "lower dataset.batch_size, dataset.eval_batch_size or dataset.image_size"


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn what torch and Python raise when memory runs out into a `MemoryLimitError`."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        raise MemoryLimitError(f"the GPU's memory does not suffice; {ADVICE}") from problem
    except MemoryError as problem:
        raise MemoryLimitError(f"the machine's memory does not suffice; {ADVICE}") from problem
    except RuntimeError as problem:
        # torch's allocator on the CPU has no class of its own.
        if "DefaultCPUAllocator" not in str(problem):
            raise
        raise MemoryLimitError(f"the machine's memory does not suffice; {ADVICE}") from problem
