"""`--where`: which trials of a sweep to compare, as one expression over settings and figures."""

from qatexp.compare.where.evaluate import Value, holds
from qatexp.compare.where.parse import WhereError, parse
from qatexp.compare.where.vocabulary import (
    Vocabulary,
    figures_of,
    trial_values,
    vocabulary,
    vocabulary_of,
)

__all__ = [
    "Value",
    "Vocabulary",
    "WhereError",
    "figures_of",
    "holds",
    "parse",
    "trial_values",
    "vocabulary",
    "vocabulary_of",
]
