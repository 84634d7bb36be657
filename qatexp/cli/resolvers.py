"""OmegaConf resolvers of the configuration: folder names, sizes, and the groups for ``--help``."""

from __future__ import annotations

from omegaconf import OmegaConf

from qatexp.cli.folders import stamp
from qatexp.config.images import usual_resize
from qatexp.config.members import TORCHVISION_MODELS
from qatexp.config.sources import CONF

_GROUPS = ("model", "dataset", "qconfig", "schedule", "export", "measure", "tracking")
_WHOLE = ("experiment", "sweep", "debug")


def register_resolvers() -> None:
    """Make `qatexp_stamp` and the others known to OmegaConf; again does no harm."""
    OmegaConf.register_new_resolver("qatexp_stamp", stamp, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("qatexp_resize", usual_resize, replace=True)
    OmegaConf.register_new_resolver("qatexp_groups", groups_text, replace=True)


def groups_text() -> str:
    """List the members of every group, as `--help` shows them."""
    lines = [_line(group) for group in (*_GROUPS, *_WHOLE)]
    lines[0] += (
        f",\n              and torchvision's {len(TORCHVISION_MODELS)} by name "
        "(mobilenet_v2, resnet50, ...)"
    )
    return "\n".join(lines)


def _line(group: str) -> str:
    members = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return f"  {group:<11} {', '.join(members)}"
