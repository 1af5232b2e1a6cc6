"""Square attack (Andriushchenko et al. 2020, arXiv 1912.00049), carried out by pyautoattack."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pyautoattack.square import SquareAttack  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from reinforced.attacks.base import Access
from reinforced.attacks.pyaa import Lent, PyAutoAttack
from reinforced.component import setting
from reinforced.errors import ReinforcedError

_AUTOATTACK = "Croce and Hein 2020 (AutoAttack)"


class Square(PyAutoAttack):
    """Random search with square-shaped changes on the surface of the ball; asks for logits only.

    Costs an image that stands ``1 + restarts * (2 + queries)`` forward passes and no gradient.
    """

    access: ClassVar[Access] = "scores"

    kind: Literal["square"] = "square"
    queries: int = setting(5000, "forward passes an image and restart", ge=1, source=_AUTOATTACK)
    restarts: int = setting(1, "independent starts", ge=1, source=_AUTOATTACK)
    p_init: float = setting(0.8, "share of the pixels in the first squares", gt=0, le=1, source=_AUTOATTACK)
    loss: Literal["margin", "ce"] = setting("margin", "what it lowers or raises", source=_AUTOATTACK)
    rescale_schedule: bool = setting(
        False, "fit the shrinking of the squares to the queries, else to 10,000", source=_AUTOATTACK
    )

    def perturb(self, lent: Lent) -> Tensor:
        """See :class:`~reinforced.attacks.pyaa.PyAutoAttack`."""
        attack = square_attack(
            lent,
            n_queries=self.queries,
            n_restarts=self.restarts,
            p_init=self.p_init,
            loss=self.loss,
            resc_schedule=self.rescale_schedule,
        )
        found: Tensor = attack.perturb(lent.images, lent.labels)
        return found


def square_attack(lent: Lent, **options: Any) -> SquareAttack:
    """Pyautoattack's own attack on ``lent``, with its ``options``.

    Raises:
        ReinforcedError: images of a size that its L2 form cannot begin on.
    """
    height, width = lent.images.shape[2:]
    if lent.threat.norm == "l2" and not _tiles(height, width):
        raise ReinforcedError(
            f"square: in l2 pyautoattack's first squares do not fit images of {height} x {width}; "
            "use apgd and fab"
        )
    return _TieSafe(
        lent.model,
        norm=lent.norm,
        eps=lent.threat.epsilon,
        seed=lent.seed,
        device=lent.images.device,
        **options,
    )


def _tiles(height: int, width: int) -> bool:
    """Whether the first squares stay on the image: theirs run off one of 12, 14, 18, 19 or 24 rows."""
    side = height // 5
    if side < 2:
        return side == 1  # single pixels beyond the image are no pixels
    begin = (height - 5 * side) // 2
    return all(begin + length // side * side <= length for length in (height, width))


class _TieSafe(SquareAttack):  # type: ignore[misc]
    """Does not crash in L2 where the first squares leave only ties: ``view(0, -1)`` is an error.

    Nor does it give an image up at a tie that is still classified rightly, as coarse logits have them.
    """

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Margin (N,), at most 0 where it has succeeded, and loss (N,) of the untargeted attack."""
        logits = self.predict(x)
        entropy = F.cross_entropy(logits, y, reduction="none")
        right = logits.argmax(dim=-1) == y
        others = logits.scatter(1, y[:, None], -math.inf).max(dim=-1)[0]
        margin = logits.gather(1, y[:, None])[:, 0] - others
        margin = torch.where((margin == 0) & right, torch.finfo(margin.dtype).tiny, margin)
        return margin, -entropy if self.loss == "ce" else margin

    def normalize(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        size = flat.abs().amax(1) if self.norm == "Linf" else (flat**2).sum(-1).sqrt()
        return x / (size[:, None, None, None] + 1e-12)

    def lp_norm(self, x: Tensor) -> Tensor:
        return (x**2).flatten(1).sum(-1).sqrt()[:, None, None, None]
