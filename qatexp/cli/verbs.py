"""The verbs beside the Hydra application: ``qatexp analyze``, ``cache``, ``compare`` and so on."""

from __future__ import annotations

from pathlib import Path

import click

from qatexp.cli.cache import cache
from qatexp.cli.console import INTERRUPTED, complain
from qatexp.errors import QatexpError

VERBS = ("analyze", "cache", "compare", "rerun", "ui")


@click.group()
def verbs() -> None:
    """Commands beside the experiment itself."""


verbs.add_command(cache)


@verbs.command()
@click.argument("overrides", nargs=-1)
@click.option("--config-dir", default=None, help="a folder with YAML files of your own")
def analyze(overrides: tuple[str, ...], config_dir: str | None) -> int:
    """Find the layers that mind quantization most; takes the OVERRIDES of a run."""
    from qatexp.cli.analysis import analyze as run_analysis

    return run_analysis(overrides, config_dir=config_dir)


@verbs.command()
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--where", default="", help="keep trials for which it holds: 'bits <= 4 and pareto'")
@click.option("--baseline", default="", help="number or name of a trial to take differences from")
@click.option("--out", type=click.Path(path_type=Path), help="folder of the files; it may be new")
@click.option("--experiment", default="", help="read an MLflow experiment instead of folders")
@click.option("--uri", default=None, help="its store, if another than tracking.uri's default")
def compare(
    folders: tuple[Path, ...],
    *,
    where: str,
    baseline: str,
    out: Path | None,
    experiment: str,
    uri: str | None,
) -> None:
    """Compare the trials of sweeps, or the variants of a run (default: the newest).

    Files go to the folder that is compared; for several folders, an experiment, or some of the
    trials (--where), to a new one in multirun/compare.
    """
    from rich.console import Console

    from qatexp.cli.comparison import collected, place_of
    from qatexp.compare import print_comparison, select, write_comparison
    from qatexp.store.atomic import ensure_folder

    sweep = collected(folders, experiment=experiment, uri=uri)
    sweep = select(sweep, where=where, baseline=baseline)
    written = write_comparison(sweep, ensure_folder(place_of(sweep) if out is None else out))
    print_comparison(sweep, Console())
    for path in written:
        click.echo(f"wrote {path}")


@verbs.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="change a key")
@click.option("--no-tracking", is_flag=True, help="log the rerun nowhere")
@click.option("--uri", default=None, help="store of RUN_ID, if not tracking.uri's default")
@click.option("--experiment", default="qatexp", show_default=True, help="where to look for ids")
def rerun(
    run: str, settings: tuple[str, ...], no_tracking: bool, uri: str | None, experiment: str
) -> int:
    """Compute a finished run anew, and compare every figure bit for bit.

    RUN_ID is an MLflow run id, or the folder of a run.
    """
    from qatexp.cli.rerun import rerun as compute_anew
    from qatexp.config.schema import TrackingConfig

    store = TrackingConfig(uri=uri, experiment=experiment)
    return compute_anew(run, store, settings=settings, tracked=not no_tracking)


@verbs.command()
@click.option("--port", default=5000, show_default=True, help="port on this machine")
@click.option("--uri", default=None, help="another store than tracking.uri's default")
@click.option("--experiment", default="qatexp", show_default=True, help="tracking.experiment")
def ui(port: int, uri: str | None, experiment: str) -> int:
    """Open the MLflow pages of all runs."""
    from qatexp.config.schema import TrackingConfig
    from qatexp.tracking.ui import serve

    return serve(TrackingConfig(uri=uri, experiment=experiment), home=Path.cwd(), port=port)


def run_verb(arguments: list[str]) -> int:
    """Run a verb; 0 done, 2 the request was wrong, 130 interrupted."""
    try:
        code = verbs(arguments, prog_name="qatexp", standalone_mode=False)
    except click.ClickException as problem:
        complain(f"{problem.format_message().rstrip('.')}.")
        return 2
    except click.Abort:  # Ctrl-C; click has ended the line
        return INTERRUPTED
    except QatexpError as problem:
        complain(str(problem))
        return 2
    return code if isinstance(code, int) else 0
