"""Trials that differ in nothing but the seed: mean, spread, and what is more than noise.

A sample is a seed, not a trial: the same seed once more tells nothing new about the spread. Where
trials repeat a seed, the mean of their accuracies counts once.

The rule: two settings differ by more than noise if Welch's t-test on the `deployed_top1` of their
seeds rejects equal means at a false discovery rate of 5 % over all pairs that are compared
(Benjamini and Hochberg, 1995): of the differences called larger than the noise, about one in
twenty is expected to be none. Settings with one seed cannot be told from noise. A variance never
counts as less than what whole images allow: accuracy on N images moves in steps of 100/N points,
and a value rounded to such steps has a variance of step^2/12.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean, stdev

from qatexp.compare.collect import Sweep, Trial
from qatexp.records import Record
from qatexp.results.comparable import DataSet, data_set
from qatexp.results.trials import deployable, knobs, label

SEED = "seed"
LEVEL = 0.05
"""False discovery rate of the differences that are called larger than the noise."""
RULE = (
    "larger than the noise: Welch's t-test over the seeds, at a false discovery rate of "
    f"{LEVEL:.0%} over all pairs of settings (Benjamini-Hochberg)"
)
"""The rule in one line, for readers of a table."""


@dataclass(frozen=True, slots=True)
class Group:
    """Trials with the same settings and different seeds."""

    label: str
    trials: tuple[str, ...]
    """Names of the trials."""
    seeds: tuple[int, ...]
    """By trial; several may have the same."""
    top1: tuple[float, ...]
    """By trial: `deployed_top1` of what it would deploy, in percent."""
    data: DataSet
    """What the accuracies were found on."""
    step: float
    """Points of accuracy that one test image is worth; 0 where its number is not known."""

    @property
    def samples(self) -> tuple[float, ...]:
        """Accuracy by distinct seed, in percent: the mean of the trials that have it."""
        by_seed: dict[int, list[float]] = {}
        for seed, top1 in zip(self.seeds, self.top1, strict=True):
            by_seed.setdefault(seed, []).append(top1)
        return tuple(fmean(values) for values in by_seed.values())

    @property
    def n(self) -> int:
        """Number of distinct seeds."""
        return len(self.samples)

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds, in percent."""
        return fmean(self.samples)

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample, with n - 1; None for one seed."""
        return stdev(self.samples) if self.n > 1 else None

    @property
    def noise(self) -> float:
        """`std`, but not below what the steps of accuracy allow; for several seeds."""
        return max(float(self.std or 0.0), self.step / 12**0.5)


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the mean accuracies of two groups."""

    one: int
    other: int
    """Indices of the groups."""
    points: float
    """Mean of `one` minus mean of `other`."""
    p: float | None
    """Adjusted for the number of pairs; None where a group has one seed."""

    @property
    def is_larger_than_noise(self) -> bool:
        """Whether the rule of this module calls it so."""
        return self.p is not None and self.p <= LEVEL


def seed_groups(sweep: Sweep) -> list[Group]:
    """Group the finished trials, the best mean first; nothing where no setting has two seeds.

    Sweeps are not mixed: they may differ in what their parameters do not list, the code for one.
    """
    found: dict[str, list[tuple[Trial, Record]]] = {}
    for trial, record in sweep.finished:
        if deployable(record) is not None and SEED in record.params:
            found.setdefault(_settings(trial, record), []).append((trial, record))
    differing = [knob for knob in knobs(sweep.records) if knob.key != SEED]
    groups = []
    for members in found.values():
        trial, first = members[0]
        text = label(first, differing)
        groups.append(_group(f"{trial.sweep}: {text}" if trial.sweep else text, members))
    if all(group.n < 2 for group in groups):
        return []
    return sorted(groups, key=lambda group: -group.mean)


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Compare every pair of groups on the same data set, the better one first."""
    every = combinations(range(len(groups)), 2)
    pairs = [(one, other) for one, other in every if groups[one].data == groups[other].data]
    testable = [p for p in pairs if all(groups[i].n > 1 for i in p)]
    adjusted = dict(zip(testable, _adjusted(groups, testable), strict=True))
    return [
        Difference(one, other, _apart(groups[one], groups[other]), adjusted.get((one, other)))
        for one, other in pairs
    ]


def _apart(one: Group, other: Group) -> float:
    # Rounded: means of the same images in another order differ in their last bits.
    return round(one.mean - other.mean, 9)


def _adjusted(groups: Sequence[Group], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Adjusted p of each pair; where neither side has any variance, a difference is certain.

    Welch's t-test and the adjustment of Benjamini and Hochberg, as `scipy.stats` has them; loading
    it takes longer than a whole comparison, so only the t-distribution comes from SciPy.
    """
    if not pairs:
        return []
    import numpy as np
    from scipy.special import stdtr

    figures = np.array([(group.mean, group.noise**2 / group.n, group.n - 1) for group in groups])
    one, other = (figures[list(side)].T for side in zip(*pairs, strict=True))
    squared = one[1] + other[1]
    certain = squared == 0.0
    squared = np.where(certain, 1.0, squared)
    freedom = squared**2 / (one[1] ** 2 / one[2] + other[1] ** 2 / other[2] + certain)
    p = 2.0 * stdtr(freedom, -np.abs(one[0] - other[0]) / np.sqrt(squared))
    p = np.where(certain, (one[0] == other[0]).astype(float), p)
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    p[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return [float(value) for value in p]


def _settings(trial: Trial, record: Record) -> str:
    others = {key: value for key, value in record.params.items() if key != SEED}
    data = asdict(data_set(record))
    return json.dumps([trial.sweep, record.name, data, others], sort_keys=True, default=str)


def _group(text: str, members: Sequence[tuple[Trial, Record]]) -> Group:
    variants = [deployable(record) for _, record in members]
    images = [record.data.get("test") for _, record in members]
    return Group(
        label=text,
        trials=tuple(trial.name for trial, _ in members),
        seeds=tuple(record.params[SEED] for _, record in members),
        top1=tuple(variant.deployed_top1 for variant in variants if variant is not None),
        data=data_set(members[0][1]),
        step=100.0 / images[0] if isinstance(images[0], int) and images[0] > 0 else 0.0,
    )
