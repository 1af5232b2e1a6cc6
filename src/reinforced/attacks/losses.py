"""What gradient attacks ascend, an image at a time, and the logit margin by which they judge an iterate."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.errors import ReinforcedError

Loss = Literal["ce", "margin", "dlr", "gap"]
"""See :func:`attack_loss`."""

CLASSES_NEEDED = {"ce": 2, "margin": 2, "dlr": 3, "gap": 2}
"""The fewest logits an untargeted loss is defined for; targeted ``dlr`` needs 4."""

ROUNDING = 1e-3
"""Part of the largest logit that a margin must exceed before an attack stops there: another batch size, or
TF32 on a GPU, turns less. Far above float32's own rounding, because one step too many is all it costs, and
an image that is then found right is lost."""

TINY = 1e-12
"""Floor of a denominator, as in AutoAttack's code: keeps equal logits finite, far below any real gap."""


def attack_loss(kind: Loss, logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The loss of each image, to be ascended. z are the logits, z_(1) >= z_(2) >= ... sorted.

    ======  ==================================================  =============================================
    kind    untargeted                                          towards the class t
    ======  ==================================================  =============================================
    ce      cross-entropy of y                                  minus the cross-entropy of t
    margin  max_{j != y} z_j - z_y                              z_t - z_y (Gowal et al. 2019)
    dlr     -(z_y - max_{j != y} z_j) / (z_(1) - z_(3))         -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)
    gap     cross-entropy of y in z / (z_(1) - z_(2))           minus that of t
    ======  ==================================================  =============================================

    ``dlr`` is Croce and Hein 2020 (arXiv 2003.01690), equations 6 and 7, differentiated through the
    denominator. ``gap`` holds the denominator constant (MIFPE, Yu and Xu 2023, at its t = 1): whatever the
    logits' scale, the top two stand 1 apart, where float32 loses no digit of the softmax.

    Args:
        kind: one of :data:`Loss`.
        logits: (N, K), any float type; computed in float32, or in float64 where they have it.
        labels: (N,) int64.
        targets: (N,) int64, the class to reach in place of the label's loss; ``None`` for untargeted.

    Returns:
        (N,).

    Raises:
        ReinforcedError: too few classes for ``kind``.
    """
    check_classes(kind, logits.shape[1], targeted=targets is not None)
    z = widened(logits)
    if kind == "margin":
        return margin(z, labels) if targets is None else _at(z, targets) - _at(z, labels)
    if kind == "dlr":
        if targets is None:
            top = z.topk(3, dim=1).values
            return margin(z, labels) / (top[:, 0] - top[:, 2]).clamp_min(TINY)
        top = z.topk(4, dim=1).values
        spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
        return (_at(z, targets) - _at(z, labels)) / spread.clamp_min(TINY)
    if kind == "gap":
        top = z.detach().topk(2, dim=1).values
        # Softmax does not see a common shift; without it, z / gap would round off the gap in large logits.
        z = (z - top[:, :1]) / (top[:, :1] - top[:, 1:]).clamp_min(TINY)
    if targets is None:
        return F.cross_entropy(z, labels, reduction="none")
    return -F.cross_entropy(z, targets, reduction="none")


def check_classes(kind: Loss, classes: int, *, targeted: bool) -> None:
    """Refuse a loss that ``classes`` logits do not define.

    Raises:
        ReinforcedError: naming a loss that they do define.
    """
    needed = 4 if kind == "dlr" and targeted else CLASSES_NEEDED[kind]
    if classes >= needed:
        return
    if classes < 2:
        raise ReinforcedError(
            f"loss {kind}: the model has {classes} logit; attacks need one a class, 2 or more"
        )
    how = "targeted loss" if targeted else "loss"
    raise ReinforcedError(
        f"{how} {kind}: needs {needed} classes, the model has {classes}; use loss=margin or loss=gap"
    )


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The lead of the best wrong logit over the label's: (N, K), (N,) -> (N,); positive if misclassified."""
    at = labels[:, None]
    return logits.scatter(1, at, -torch.inf).amax(dim=1) - logits.gather(1, at).squeeze(1)


def rounding(logits: Tensor) -> Tensor:
    """The margin that rounding may turn: (N, K) -> (N,); below any margin where a logit is not finite."""
    largest = logits.abs().amax(dim=1)
    return torch.where(largest.isfinite(), ROUNDING * largest, -torch.inf)


def likely_targets(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The likeliest wrong classes of each image, best first: (N, K) -> (min(count, K - 1), N)."""
    wrong = logits.detach().scatter(1, labels[:, None], -torch.inf)
    return wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices.T


def widened(logits: Tensor) -> Tensor:
    """Half-precision ``logits`` in float32; float64 is kept."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
