"""Two forms of one model: how far they agree, and where they part."""

import torch

from qatexp.measurement import agreement, matched
from qatexp.records import Agreement

LOGITS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def test_equal_forms_agree_on_everything():
    codes = torch.tensor([[0, 255]], dtype=torch.uint8)
    assert agreement((LOGITS, LOGITS), [("conv", codes, codes)]) == Agreement(1.0, 0, 0.0, 0, None)


def test_differences_are_counted_and_the_first_is_named():
    same = torch.tensor([[7, 7]], dtype=torch.uint8)
    pairs = [
        ("stem", same, same),
        ("block", same, torch.tensor([[8, 7]], dtype=torch.uint8)),
        # Unsigned codes at both ends must not wrap around.
        ("head", torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([[255, 255]])),
    ]
    found = agreement((LOGITS, LOGITS.flip(1)), pairs)
    assert found == Agreement(0.0, 2, 2 / 6, 255, "block")


def test_forms_without_common_tensors_are_compared_by_their_predictions():
    assert agreement((LOGITS, LOGITS), []) == Agreement(1.0, 0, None, None, None)


def test_tensors_are_matched_only_where_number_and_shapes_agree():
    one, other = torch.zeros(2, 3), torch.ones(2, 3)
    assert matched([("a", one)], [other]) == [("a", one, other)]
    assert matched([("a", one)], [other, other]) == []
    assert matched([("a", one)], [torch.ones(3, 2)]) == []
