"""Decode a Dataset of images into one tensor, once, and keep the result as a file."""

from __future__ import annotations

import logging
import os
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from qatexp.data.fingerprint import combined, content_digest
from qatexp.data.samples import Batch, Key, SampleReader, Samples
from qatexp.data.source import ImageTensors

_log = logging.getLogger(__name__)

FORMAT = 2
BATCH_BYTES = 4_000_000
IMAGES_PER_WORKER = 250
"""Starting a process takes as long as decoding about so many small images."""

DAMAGE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

Warn = Callable[[str], None]


def decoded(samples: Samples, *, name: str, folder: Path | None, warn: Warn) -> ImageTensors:
    """Return all images of a split, from the file of an earlier call where there is one.

    Args:
        samples: what to decode.
        name: of the data set, the beginning of the file's name.
        folder: where files are kept; None: nowhere. Only a Dataset that `content_digest` can
            identify is kept.
        warn: is told when a file cannot be used or written; the images are right all the same.

    Raises:
        DataError: an image cannot be read or has another size than expected.
    """
    content = None if folder is None else content_digest(samples.dataset, index=folder)
    if folder is None or content is None:
        return _decode(samples)
    key = combined(format=FORMAT, content=content, geometry=asdict(samples.geometry))
    path = folder / f"{name}-{samples.split}-{key[:32]}.npz"
    kept = _load(path, samples, warn)
    if kept is not None:
        return kept
    split = _decode(samples)
    try:
        _save(path, split)
    except OSError as problem:
        warn(f"decoded images cannot be kept in {folder}, so the next run decodes anew: {problem}")
    return split


def read_all(samples: Samples) -> Iterator[Batch]:
    """Read every image in order, with as many processes as there are processors."""
    geometry = samples.geometry
    count = len(samples.dataset)  # type: ignore[arg-type]
    size = max(1, BATCH_BYTES // (geometry.channels * geometry.height * geometry.width))
    size = min(size, IMAGES_PER_WORKER)
    keys: list[Key] = [(index, None) for index in range(count)]
    batches = [keys[start : start + size] for start in range(0, count, size)]
    workers = min(_processors(), count // IMAGES_PER_WORKER)
    return SampleReader(samples, workers=workers, seed=0).read(batches)


def _decode(samples: Samples) -> ImageTensors:
    geometry = samples.geometry
    count = len(samples.dataset)  # type: ignore[arg-type]
    started = time.perf_counter()
    images = torch.empty(
        (count, geometry.channels, geometry.height, geometry.width), dtype=torch.uint8
    )
    labels = torch.empty(count, dtype=torch.int64)
    done = 0
    for batch_images, batch_labels in read_all(samples):
        until = done + len(batch_images)
        images[done:until], labels[done:until] = batch_images, batch_labels
        done = until
    seconds = time.perf_counter() - started
    _log.info("decoded the %d images of the %s split in %.1f s", count, samples.split, seconds)
    return ImageTensors(images, labels)


def _load(path: Path, samples: Samples, warn: Warn) -> ImageTensors | None:
    """Read a kept file, whose CRC-32 sums numpy's reader checks; set it aside when damaged."""
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            split = ImageTensors(torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]))
    except FileNotFoundError:
        return None
    except OSError as problem:
        warn(f"decoded images in {path} cannot be read and are decoded anew: {problem}")
        return None
    except DAMAGE as problem:
        aside = path.with_suffix(".damaged")
        warn(f"{path} is damaged ({problem}); set aside as {aside.name} and decoded anew")
        path.replace(aside)
        return None
    assert len(split.images) == len(samples.dataset)  # type: ignore[arg-type]
    _mark_used(path)
    return split


def _mark_used(path: Path) -> None:
    """Set the time of the last reading, which many file systems do not keep."""
    with suppress(OSError):  # another user's file; it only looks unused
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _save(path: Path, split: ImageTensors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as file:
            np.savez(file, images=split.images.numpy(), labels=split.labels.numpy())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _processors() -> int:
    """Count the processors that this process may use, which a launcher may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
