import re

from hydra import compose, initialize_config_dir

from qatexp.cli import resolvers
from qatexp.cli.compose import VERSION_BASE
from qatexp.config.sources import CONF, CONFIG_NAME


def test_one_run_has_one_stamp_however_often_it_is_asked(tmp_path, monkeypatch):
    """Hydra reads `hydra.run.dir` several times, and its folder exists from the first time on."""
    monkeypatch.chdir(tmp_path)
    resolvers.register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        composed = compose(CONFIG_NAME, return_hydra_config=True)
    first = composed.hydra.run.dir
    (tmp_path / first).mkdir(parents=True)
    assert composed.hydra.run.dir == first
    assert re.fullmatch(r"multirun/single/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", first)
    assert composed.hydra.sweep.dir.startswith("multirun/sweep/")


def test_the_help_lists_every_member_of_every_group():
    resolvers.register_resolvers()
    text = resolvers.groups_text()
    for file in CONF.glob("[!h]*/*.yaml"):
        line = next(line for line in text.splitlines() if line.split()[0] == file.parent.name)
        assert re.search(rf"\b{file.stem}\b", line), file
    assert all(len(line) <= 110 for line in text.splitlines())
    assert "torchvision's 80 by name" in text
