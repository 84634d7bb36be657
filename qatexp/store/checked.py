"""Checksums of files: what is damaged is noticed, not read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qatexp.errors import StoreError
from qatexp.store.atomic import atomic_path

_DIGEST_BYTES = 32


def write_checked(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically, its SHA-256 in front of its content.

    Raises:
        StoreError: as `qatexp.store.atomic.atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_checked(path: Path) -> bytes:
    """Read the content of a file that `write_checked` has written.

    Raises:
        StoreError: it cannot be read, was cut or changed.
    """
    try:
        stored = path.read_bytes()
    except OSError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror or problem}") from problem
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise StoreError(f"{path} does not have the content that its checksum says")
    return content


def checksum(path: Path) -> str:
    """Hash the bytes of a file (SHA-256, hexadecimal)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
