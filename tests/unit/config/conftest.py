import sys
from types import SimpleNamespace

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a user's own, whose modules the test writes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "their_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")

    def write(module, text):
        (folder / f"{module}.py").write_text(text)
        return f"their_package.{module}"

    yield SimpleNamespace(name="their_package", write=write)
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_package"]:
        del sys.modules[name]
