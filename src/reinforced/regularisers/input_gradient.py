"""Input gradient regularisation, or double backpropagation."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reinforced.component import setting
from reinforced.regularisers.base import INPUT_GRADIENT_PASSES, RegulariserSettings, input_gradient
from reinforced.streams import Stream


class InputGradient(RegulariserSettings):
    """``strength`` times the batch mean of ``||d CE_i / d x_i||``: squared L2, or L1 as it is.

    Squared L2: Drucker & LeCun 1992; Ross & Doshi-Velez 2018. L1: Simon-Gabriel et al. 2019, to
    first order the rise of the loss under an L-inf step of size ``strength``.
    """

    kind: Literal["input_gradient"] = "input_gradient"
    strength: float = setting(
        1.0,
        "of the penalty",
        unit="pixels^2/nat for l2, pixels of [0,1] for l1",
        source="Ross & Doshi-Velez 2018, released code: 0.2 to 195 for l2",
        ge=0,
    )
    norm: Literal["l2", "l1"] = setting(
        "l2", "of an image's gradient: its squared L2 norm, or its L1 norm", source="Ross & Doshi-Velez 2018"
    )

    @property
    def needs_input_gradient(self) -> bool:
        """Yes."""
        return True

    @property
    def passes(self) -> float:
        """One input gradient and the backward through it."""
        return INPUT_GRADIENT_PASSES

    def penalty(
        self,
        network: nn.Module,  # noqa: ARG002
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        stream: Stream,  # noqa: ARG002
    ) -> Tensor:
        """Images (B, C, H, W) that require grad, labels (B,), logits (B, K) to the scalar penalty."""
        gradient = input_gradient(images, labels, logits).flatten(1)
        sizes = gradient.abs() if self.norm == "l1" else gradient.square()
        return self.strength * sizes.sum(1).mean()
