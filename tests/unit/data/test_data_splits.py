"""Stratified splits."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from qatexp.data.splits import stratified


@given(
    labels=st.lists(st.integers(0, 4), max_size=60),
    fraction=st.floats(0.0, 0.9),
    seed=st.integers(0, 5),
)
def test_splits_are_disjoint_complete_and_leave_every_class_something(
    labels: list[int], fraction: float, seed: int
):
    every = torch.tensor(labels, dtype=torch.int64)
    kept, held_out = stratified(every, fraction=fraction, seed=seed)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(len(labels)))
    assert set(every[kept].tolist()) == set(labels)
    assert len(held_out) <= round(fraction * len(labels))


def test_every_class_gives_its_share_and_the_total_is_exact():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 25)
    kept, held_out = stratified(labels, fraction=0.1, seed=0)
    assert labels[held_out].bincount().tolist() == [10, 5, 3]
    assert len(kept) == 157


def test_the_seed_chooses_the_images():
    labels = torch.arange(100) % 4
    first = stratified(labels, fraction=0.2, seed=0)[1]
    assert torch.equal(first, stratified(labels, fraction=0.2, seed=0)[1])
    assert not torch.equal(first, stratified(labels, fraction=0.2, seed=1)[1])
