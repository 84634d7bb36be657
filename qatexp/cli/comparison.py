"""What ``qatexp compare`` compares: folders, the newest sweep, or an MLflow experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from qatexp.compare import Sweep, gather, newest_sweep
from qatexp.compare.gather import new_folder
from qatexp.errors import ConfigError

_HOME = Path("multirun")


def collected(folders: Sequence[Path], *, experiment: str, uri: str | None) -> Sweep:
    """Collect the trials that were asked for.

    Args:
        folders: of sweeps or runs; none for the newest.
        experiment: of MLflow, instead of folders; empty for none.
        uri: of the experiment's store; None for the default.

    Raises:
        QatexpError: the request contradicts itself, or there is nothing to compare.
    """
    if not experiment:
        if uri is not None:
            raise ConfigError(f"--uri={uri} names a store; add --experiment=NAME to read from it.")
        return gather(folders or [newest_sweep(_HOME)], home=_HOME)
    if folders:
        raise ConfigError(
            f"--experiment={experiment} and FOLDER={folders[0]} exclude each other; give one."
        )
    return _from_mlflow(experiment, uri)


def place_of(sweep: Sweep) -> Path:
    """Where the files of a comparison go: one of some trials leaves that of all of them alone."""
    return new_folder(_HOME) if sweep.where else sweep.folder


def _from_mlflow(experiment: str, uri: str | None) -> Sweep:
    from qatexp.compare.logged import from_mlflow
    from qatexp.config.schema import TrackingConfig
    from qatexp.tracking import read_runs

    config = TrackingConfig(uri=uri, experiment=experiment)
    with TemporaryDirectory(prefix="qatexp-") as folder:
        found = read_runs(config, home=Path.cwd(), to=Path(folder))
        return from_mlflow(found, experiment=experiment, home=_HOME)
