"""The Hydra application: check the request, then hand over to Hydra."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qatexp import __version__
from qatexp.cli.console import INTERRUPTED, complain
from qatexp.config.schema import ExperimentConfig
from qatexp.config.sources import CONF, CONFIG_NAME
from qatexp.config.suggestions import did_you_mean
from qatexp.errors import ConfigError, QatexpError, StoreError

if TYPE_CHECKING:
    from qatexp.cli.compose import Request


def run_application(arguments: Sequence[str]) -> int:
    """Run ``qatexp [OVERRIDES]`` or ``qatexp -m [OVERRIDES]``; returns the exit code."""
    import hydra

    from qatexp.cli.compose import VERSION_BASE
    from qatexp.cli.folders import claimed
    from qatexp.cli.resolvers import register_resolvers
    from qatexp.cli.task import task
    from qatexp.sweep.grid import announce
    from qatexp.sweep.search.sweeper import announce_search

    if "--version" in arguments:  # Hydra would tell its own
        print(f"qatexp {__version__}")
        return 0
    register_resolvers()
    arguments = quoted(arguments)
    try:
        options = _parsed(arguments)
        _register_models(options)
        _check_commands(options)
        request = claimed(lambda: check_request(options)) if _starts_runs(options) else None
    except QatexpError as problem:
        complain(str(problem))
        return 2
    further = () if request is None else request.overrides
    sys.argv = [sys.argv[0], *_with_overrides(arguments, options.overrides, further)]
    if request is not None and request.plan is not None:
        announce(request.plan)
    if request is not None and request.search is not None:
        announce_search(request.search)
    application = hydra.main(
        version_base=VERSION_BASE, config_path=str(CONF), config_name=CONFIG_NAME
    )(task)
    if not _starts_runs(options):
        return _displayed(application, options)
    from qatexp.sweep.session import closing_open_sweep
    from qatexp.tracking import sigterm_raises

    # SIGTERM between two trials, too: the sweep's own run has to be closed.
    try:
        with sigterm_raises(), closing_open_sweep():
            application()
    except KeyboardInterrupt:  # between two trials, or a second one while the sweep was closed
        complain("interrupted")
        return INTERRUPTED
    return 0


def _displayed(application: Callable[[], Any], options: Namespace) -> int:
    """What Hydra shows by itself, as for ``--cfg``; what it cannot compose, in our words."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from qatexp.cli.compose import checked_request
    from qatexp.cli.rewording import reworded

    os.environ["HYDRA_FULL_ERROR"] = "1"  # else it prints its own words and ends the process
    try:
        application()
    except (HydraException, OmegaConfBaseException, ValueError) as problem:
        try:
            checked_request(options)
        except QatexpError as known:
            complain(str(known))
        else:
            complain(reworded(problem))
        return 2
    return 0


def quoted(arguments: Sequence[str]) -> list[str]:
    """Quote ``debug=true``: Hydra takes no boolean as the name of a member of a group."""
    return ["debug='true'" if item == "debug=true" else item for item in arguments]


def _parsed(arguments: Sequence[str]) -> Namespace:
    """What Hydra's parser makes of a command line; its errors are ours, without a page of usage.

    Raises:
        ConfigError: an option does not exist, or is not given as it has to be.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        if not unknown:
            raise ConfigError(f"{message}; qatexp --hydra-help lists the options.")
        options = re.findall(r"--[a-z_-]+", parser.format_usage())
        near = did_you_mean(unknown.split("=")[0].split()[0], options)
        raise ConfigError(f"{unknown}: there is no such option{near}")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # there is no other way to be told
    return parser.parse_args(arguments)


def _with_overrides(
    arguments: Sequence[str], given: Sequence[str], further: Sequence[str]
) -> list[str]:
    """Put further overrides before the given ones: the parser takes them in one block alone."""
    at = list(arguments).index(given[0]) if given else len(arguments)
    return [*arguments[:at], *further, *arguments[at:]]


def _register_models(options: Namespace) -> None:
    from qatexp.config.members import TORCHVISION_MODELS, register_models

    names: Collection[str] = TORCHVISION_MODELS
    if options.help:
        # Hydra's help copies all registered members a hundred times, which takes seconds.
        chosen = {item.partition("=")[2] for item in options.overrides}
        names = chosen.intersection(names)
    register_models(names)


def _starts_runs(options: Namespace) -> bool:
    asks = ("help", "hydra_help", "cfg", "info", "shell_completion", "version")
    return not any(getattr(options, name, None) for name in asks)


def _check_commands(options: Namespace) -> None:
    """Hydra itself raises a bare ValueError here."""
    commands = ("run", "multirun", "cfg", "info", "shell_completion")
    given = [f"--{name.replace('_', '-')}" for name in commands if getattr(options, name, None)]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other; give one of them.")


def check_request(options: Namespace) -> Request:
    """Check all that a command line asks for, output and tracking too; nothing is written.

    Raises:
        QatexpError: something cannot be done.
    """
    from qatexp.cli.compose import checked_request

    request = checked_request(options)
    check_surroundings(
        request.points, request.folder_key, request.folder, elsewhere=request.is_elsewhere
    )
    return request


def check_surroundings(
    points: Sequence[ExperimentConfig],
    folder_key: str,
    folder: Path,
    *,
    elsewhere: bool = False,
) -> None:
    """Check output folder, tracking and GPUs; nothing is written.

    Args:
        points: the experiments to run, tracked as the first of them says.
        folder_key: what names the folder, for the message.
        folder: where the runs write; it need not exist.
        elsewhere: whether other machines run them, whose GPUs cannot be seen from here.

    Raises:
        QatexpError: something cannot be done.
    """
    _check_output(folder_key, folder)
    for root in {point.cache.dir for point in points if point.cache.enabled}:
        _check_output("cache.dir", Path(root))
    _check_tracking(points[0])
    if not elsewhere:
        _check_gpus({point.device for point in points})


def _check_output(key: str, folder: Path) -> None:
    """Try to create a folder where the first missing one will be: permissions do not say it all."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        Path(tempfile.mkdtemp(prefix=".qatexp-", dir=place)).rmdir()
    except OSError as problem:
        raise StoreError(
            f"{key}={folder} cannot be created: {place}: {problem.strerror}; change to another "
            f"folder, or set {key}."
        ) from problem


def _check_gpus(devices: Collection[str]) -> None:
    """Torch is loaded, which takes seconds, only where a GPU is asked for by name."""
    for device in sorted(devices):
        if device.startswith("cuda"):
            from qatexp.training import device_of

            device_of(device)


def _check_tracking(config: ExperimentConfig) -> None:
    if config.tracking.enabled:
        from qatexp.tracking import check_reachable, resolve_uri

        check_reachable(resolve_uri(config.tracking, home=Path.cwd()))
