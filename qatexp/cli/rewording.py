"""What Hydra says of a command line that it cannot compose, in our words."""

from __future__ import annotations

import re

from hydra.errors import OverrideParseException

from qatexp.cli.verbs import VERBS
from qatexp.config.sources import CONFIG_NAME
from qatexp.config.suggestions import did_you_mean, nearest

_NO_SUCH_MEMBER = re.compile(r"In '([^']+)': Could not find '([^']*)/([^'/]+)'")
_BOTH = "; see qatexp --help for both."


def reworded(problem: Exception) -> str:
    """Hydra's message without its search path, its links and its advice about tracebacks."""
    if isinstance(problem, OverrideParseException):
        return _grammar_message(str(problem.override), str(problem).splitlines()[0])
    kept, choices = [], []
    for line in str(problem).splitlines():
        if line.startswith(("Config search path", "\tprovider", "Set the environment")):
            break
        if line.startswith("\t"):
            choices.append(line.strip())
        elif line.strip() and not line.startswith(("    full_key", "    object_type")):
            kept.append(line.rstrip())
    if choices and (missing := _NO_SUCH_MEMBER.search(kept[0])) is not None:
        return _no_such_member(*missing.groups(), choices=choices)
    return "\n".join([*kept, ", ".join(choices)] if choices else kept)


def _no_such_member(file: str, group: str, member: str, *, choices: list[str]) -> str:
    """Name the members of a group that look like the one asked for, else all of them."""
    place = "" if file in (CONFIG_NAME, "hydra/config") else f" (in {file})"
    near = did_you_mean(member, choices)
    end = near if near.endswith("?") else f"; allowed: {', '.join(choices)}."
    return f"{group}={member} is not possible{place}{end}"


def _grammar_message(override: str, reason: str) -> str:
    if "=" not in override and not override.startswith("~"):
        end = did_you_mean(override, VERBS) if nearest(override, VERBS) else _BOTH
        return f"{override!r} is neither an override (KEY=VALUE) nor a command{end}"
    return f"cannot read the override {override!r}: {reason}"
