"""A small project: a stage cache, and runs that depend on some of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qatexp.cache.items import scan
from qatexp.cache.references import references
from qatexp.records import Record
from qatexp.store.entries import CHECKPOINT, MAKER
from qatexp.store.stage_cache import StageCache


class Project:
    """Makes what runs leave behind, below `home/multirun`."""

    def __init__(self, home):
        self.home = home
        self.runs = home / "multirun"
        self.root = self.runs / ".stages"
        self.root.mkdir(parents=True)

    def entry(self, stage, fingerprint, *, size=100, idle=0.0, **files):
        """A finished stage that nobody uses now."""

        def make(folder):
            (folder / "weights.bin").write_bytes(bytes(size))
            for name, text in files.items():
                (folder / name.replace("_", ".")).write_text(text)

        folder = StageCache(self.root).get(stage, fingerprint, make).folder
        self.age(folder, idle)
        return folder

    def stem(self, fingerprint, training):
        return self.entry("qat_stem", fingerprint, **{MAKER: json.dumps({"training": training})})

    def partial(self, stage, fingerprint):
        """What a training that was killed leaves."""
        folder = StageCache(self.root).partial(stage, fingerprint)
        folder.mkdir(parents=True)
        (folder / CHECKPOINT).write_bytes(bytes(50))
        (folder.parent / f".{fingerprint}.x1").mkdir()
        return folder

    def age(self, path, seconds):
        made = path.stat().st_mtime - seconds
        os.utime(path, (made, made))

    def record(self, run, status="finished", **fingerprints):
        folder = self.runs / run
        folder.mkdir(parents=True)
        record = Record(name="x", status=status, params={}, fingerprints=fingerprints)
        (folder / "record.json").write_text(record.to_json())
        return folder

    def killed(self, run, stage, fingerprint):
        """A run that used an entry when it was killed."""
        code = (
            "import os, sys; from pathlib import Path;"
            "from qatexp.store.stage_cache import StageCache;"
            "cache = StageCache(Path(sys.argv[1]), run=Path(sys.argv[2]));"
            "cache.get(*sys.argv[3:], lambda folder: None);"
            "os.kill(os.getpid(), 9)"
        )
        command = [sys.executable, "-c", code, self.root, run, stage, fingerprint]
        subprocess.run(command, check=False, timeout=60)

    def items(self):
        return scan(self.root, references([self.runs], self.root))

    def names(self):
        """Stage, hash and kind of everything."""
        return {(item.stage, item.hash, item.kind.name) for item in self.items()}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
