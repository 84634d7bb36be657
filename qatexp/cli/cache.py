"""``qatexp cache list``, ``prune`` and ``verify``: upkeep of finished stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qatexp.cache.items import Item

HOME = Path("multirun")
FOLDER = click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path),
    default=HOME / ".stages",
    show_default=True,
    help="cache.dir of the runs",
)
RUNS = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="folder below which runs have theirs; may be repeated  [default: multirun]",
)
STAGE = click.option("--stage", default=None, help="of this stage alone: fp32, qat, decoded, ...")


@click.group()
def cache() -> None:
    """Look after the stage cache: finished stages that later runs reuse."""


@cache.command("list")
@FOLDER
@RUNS
@STAGE
@click.option("--json", "as_json", is_flag=True, help="all figures, for programs")
def list_items(root: Path, runs: tuple[Path, ...], stage: str | None, *, as_json: bool) -> None:
    """Show what is kept, how large it is, when it was used last, and by which runs."""
    from rich.console import Console

    from qatexp.cache.show import print_items, to_json

    items = _scan(root, runs, stage)
    if as_json:
        click.echo(to_json(items))
    else:
        print_items(items, Console())


@cache.command()
@FOLDER
@RUNS
@STAGE
@click.option("--older-than", default=None, metavar="AGE", help="not used for so long: 30d, 12h")
@click.option("--larger-than", default=None, metavar="SIZE", help="larger than this: 500MB")
@click.option(
    "--keep-bytes",
    default=None,
    metavar="SIZE",
    help="the least recently used, until no more than this is left in all: 10GB",
)
@click.option("--unused", is_flag=True, help="no run in the folders of --runs depends on it")
@click.option("--damaged", is_flag=True, help="was set aside as damaged")
@click.option("--partial", is_flag=True, help="left by trainings that were not finished")
@click.option("--yes", is_flag=True, help="delete; without it nothing is deleted, only shown")
def prune(
    root: Path,
    runs: tuple[Path, ...],
    *,
    stage: str | None,
    older_than: str | None,
    larger_than: str | None,
    keep_bytes: str | None,
    unused: bool,
    damaged: bool,
    partial: bool,
    yes: bool,
) -> None:
    """Delete what meets all rules that are given; never what a process computes or uses.

    Beside running sweeps it is safe. What is deleted and needed again is computed again.
    """
    from rich.console import Console

    from qatexp.cache.prune import Rules, chosen
    from qatexp.cache.prune import prune as delete
    from qatexp.cache.quantities import bytes_of, seconds_of
    from qatexp.cache.show import print_items, readable_bytes
    from qatexp.errors import ConfigError

    rules = Rules(
        idle_seconds=None if older_than is None else seconds_of("--older-than", older_than),
        larger_than_bytes=None if larger_than is None else bytes_of("--larger-than", larger_than),
        keep_bytes=None if keep_bytes is None else bytes_of("--keep-bytes", keep_bytes),
        unused=unused,
        damaged=damaged,
        partial=partial,
        stage=stage,
    )
    if not rules.are_given:
        raise ConfigError(
            "qatexp cache prune deletes nothing without a rule; allowed: --older-than, "
            "--larger-than, --keep-bytes, --unused, --damaged, --partial. All that are given hold."
        )
    if unused:
        _check_runs(root, runs)
    items = _scan(root, runs)
    _check_stage(items, stage)
    found = chosen(items, rules)
    console = Console()
    print_items(found, console)
    if not yes:
        click.echo("Nothing was deleted; add --yes to delete these." if found else "Nothing to do.")
        return
    pruned = delete(found, root)
    freed = readable_bytes(sum(item.size_bytes for item in pruned.deleted))
    left = readable_bytes(
        sum(item.size_bytes for item in items) - sum(item.size_bytes for item in pruned.deleted)
    )
    click.echo(f"Deleted {len(pruned.deleted)} of {len(found)}: {freed} freed, {left} left.")
    for item in pruned.spared:
        click.echo(f"kept {item.path}: a process has taken it in the meantime, or removed it")


@cache.command()
@FOLDER
@STAGE
@click.option("--set-aside", is_flag=True, help="move damaged ones away, to be computed anew")
def verify(root: Path, stage: str | None, *, set_aside: bool) -> int:
    """Read everything that is kept, and compare it with its checksums; exit code 1 for damage."""
    from qatexp.cache.show import readable_bytes
    from qatexp.cache.verify import verify as check

    count, size, damages = 0, 0, 0
    for item, damage in check(_scan(root, (), stage), aside=set_aside):
        count, size = count + 1, size + item.size_bytes
        if damage is None:
            continue
        damages += 1
        where = "" if damage.aside is None else f"; set aside as {damage.aside.name}"
        held = f"; in use by {item.holder}" if set_aside and not where and item.holder else ""
        click.echo(f"damaged: {item.path} ({damage.what}){where}{held}")
    result = f"{damages} damaged" if damages else "all sound"
    noun = "item" if count == 1 else "items"
    click.echo(f"{count} {noun}, {readable_bytes(size)} read: {result}")
    if damages and not set_aside:
        click.echo("A run sets them aside when it meets them; --set-aside does so now.")
    return 1 if damages else 0


def _scan(root: Path, runs: tuple[Path, ...], stage: str | None = None) -> list[Item]:
    """All items of a cache, or those of one stage.

    Raises:
        ConfigError: a folder does not exist, or nothing of the cache is of that stage.
    """
    from qatexp.cache.items import scan
    from qatexp.cache.references import references
    from qatexp.errors import ConfigError

    missing = [path for path in runs if not path.is_dir()]
    if missing:
        raise ConfigError(f"--runs={missing[0]} is not a folder; give one that runs write to.")
    items = scan(root, references(runs or (HOME,), root) if root.is_dir() else {})
    _check_stage(items, stage)
    return [item for item in items if stage in (None, item.stage)]


def _check_stage(items: Sequence[Item], stage: str | None) -> None:
    """Refuse a stage of which nothing is there: it is a typing error."""
    from qatexp.errors import ConfigError

    stages = sorted({item.stage for item in items})
    if stage is not None and stage not in stages:
        there = ", ".join(stages) or "nothing"
        raise ConfigError(f"--stage={stage}: the cache has nothing of it; it has: {there}.")


def _check_runs(root: Path, runs: tuple[Path, ...]) -> None:
    """Refuse to call unused what runs elsewhere may depend on."""
    from qatexp.errors import ConfigError

    if not runs and not root.resolve().is_relative_to(HOME.resolve()):
        raise ConfigError(
            f"--unused: the cache {root} is not in {HOME}, so runs of other projects may depend on "
            "it; name the folders of all of them with --runs=FOLDER."
        )
