"""How the weights of a file differ from those of a model, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Shape = tuple[int, ...]

_SHOWN = 10


@dataclass(frozen=True)
class Mismatch:
    """Weights that do not fit; true if there are any.

    `shapes` holds the shape in the file and the shape in the model, by parameter name.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: Mapping[str, tuple[Shape, Shape]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def describe(self, *, path: Path, name: str) -> str:
        """Say what differs, at most ten names of each kind, and what to do about it."""
        shapes = [
            f"{key}: checkpoint {there}, model {here}" for key, (there, here) in self.shapes.items()
        ]
        lines = [
            f"model.checkpoint={path} does not fit the model {name}:",
            *_listed("missing in the file", self.missing, ", "),
            *_listed("not in the model", self.unexpected, ", "),
            *_listed("of another shape", shapes, "; "),
            self._hint(),
        ]
        return "\n".join(lines)

    def _hint(self) -> str:
        classes = self._other_classes()
        if classes is not None:
            return (
                f"Only the classifier differs: the file is for {classes[0]} classes, the model for "
                f"{classes[1]}. Set a dataset with {classes[0]} classes or another file."
            )
        return (
            "It looks like the file of another architecture, or of another variant of it: set "
            "model= to the one that the file was saved from."
        )

    def _other_classes(self) -> tuple[int, int] | None:
        """Number of classes of file and model, if one layer differs in its outputs alone."""
        layers = {key.rpartition(".")[0] for key in self.shapes}
        if self.missing or self.unexpected or len(layers) != 1:
            return None
        if any(there[1:] != here[1:] for there, here in self.shapes.values()):
            return None
        there, here = next(iter(self.shapes.values()))
        return (there[0], here[0]) if there and here else None


def _listed(title: str, items: tuple[str, ...] | list[str], separator: str) -> list[str]:
    if not items:
        return []
    more = f"{separator}and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"  {title} ({len(items)}): {separator.join(items[:_SHOWN])}{more}"]
