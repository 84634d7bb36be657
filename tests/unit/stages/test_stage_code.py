"""Fingerprints change with the code that made a result, and with nothing else."""

import shutil
import sys

import pytest

from qatexp.stages import code
from qatexp.stages.code import code_of, target_code, version_of

BUILDER = "from their_nets.blocks import width\n\ndef build():\n    return width\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A copy of two parts of qatexp, whose files a test may change."""
    for name in ("measurement", "store"):
        shutil.copytree(code.ROOT / name, tmp_path / name)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    code_of.cache_clear()
    yield tmp_path
    code_of.cache_clear()


def test_a_changed_file_of_a_named_part_counts(root):
    before = code_of("store"), code_of("store.atomic"), code_of("measurement")
    path = root / "store" / "atomic.py"
    path.write_text(path.read_text() + "# changed\n")
    code_of.cache_clear()
    after = code_of("store"), code_of("store.atomic"), code_of("measurement")
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before[2] == after[2]


def test_a_part_that_does_not_exist_is_noticed(root):
    with pytest.raises(FileNotFoundError):
        code_of("nothing")


def test_versions_of_libraries_count(root, monkeypatch):
    before = code_of("store", libraries=("torch",))
    monkeypatch.setattr(code, "version", lambda _: "0.0")
    code_of.cache_clear()
    assert code_of("store", libraries=("torch",)) != before


def test_a_distribution_that_is_not_installed_has_no_version():
    assert version_of("no-such-distribution") is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package: a builder, and the blocks that it imports."""
    folder = tmp_path / "their_nets"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "net.py").write_text(BUILDER)
    (folder / "blocks.py").write_text("width = 8\n")
    (folder / "unused.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_nets"]:
        del sys.modules[name]


@pytest.mark.parametrize(("file", "counts"), [("blocks", True), ("unused", False)])
def test_every_loaded_module_of_a_users_package_counts(package, file, counts):
    def described():
        return target_code("their_nets.net.build", key="model._target_", trusted=["their_nets"])

    before = described()
    (package / f"{file}.py").write_text("width = 1234\n")
    assert (described() != before) is counts


def test_a_trusted_package_counts_by_version_and_file(monkeypatch):
    before = target_code("torch.nn.Linear", key="model._target_")
    assert before["package"] == version_of("torch")
    monkeypatch.setattr(code, "version", lambda _: "0.0")
    after = target_code("torch.nn.Linear", key="model._target_")
    assert after == {"file": before["file"], "package": "0.0"}
