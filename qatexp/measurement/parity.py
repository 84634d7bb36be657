"""Agreement of two models that should compute the same, image by image."""

from __future__ import annotations

from torch import Tensor

from qatexp.records import Parity


def compare_logits(trained: Tensor, deployed: Tensor) -> Parity:
    """Compare logits (images, classes) of the trained model with those of its deployed file."""
    agree = trained.argmax(1) == deployed.argmax(1)
    return Parity(
        top1_agreement=float(agree.double().mean()),
        max_abs_diff=float((trained - deployed).abs().max()),
        flipped=int((~agree).sum()),
        images=len(trained),
    )
