"""`compare.html`: one file that opens offline, with nothing loaded from anywhere.

`page.html` is its skeleton, a template with the tables; `data.py` says what is embedded as JSON,
from which the scripts draw: `where.js` (the filter's language), `svg.js` (axes and marks),
`charts.js` and `page.js` (sorting, filtering, choosing).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from qatexp.compare.collect import Sweep
from qatexp.compare.page.content import content
from qatexp.compare.page.data import page_data
from qatexp.compare.reproduce import Command

__all__ = ["page_text"]

_SCRIPTS = ("where.js", "svg.js", "charts.js", "page.js")


def page_text(sweep: Sweep, commands: Mapping[str, Command | None]) -> str:
    """Render the page of a comparison.

    Args:
        sweep: what to compare; a single run is shown with its variants.
        commands: what reproduces each trial, by its name.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files(__name__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    own = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS}
    return template.render(
        content(sweep, commands),
        # Our own resources, and JSON in which no tag can begin: all else is escaped.
        style=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704
        scripts=Markup("\n".join(own.values())),  # noqa: S704
        data=Markup(embedded_json(page_data(sweep, commands))),  # noqa: S704
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside a ``<script>``: no character in it can end or open a tag."""
    text = json.dumps(value, allow_nan=False, default=str, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
