"""Weight averaging: a second set of weights, evaluated and kept in place of the trained ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from reinforced.component import Component, setting


class EMA(Component):
    """Exponential moving average of weights and batch-norm statistics, taken after every update."""

    kind: Literal["ema"] = "ema"
    decay: float = setting(0.999, "of the average, an update", gt=0, lt=1)

    def build(self, model: nn.Module) -> AveragedModel:
        """The running average, starting at the weights after the first update."""
        average = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
        return AveragedModel(model, multi_avg_fn=average, use_buffers=True)

    def takes(self, epoch: int, epochs: int, *, epoch_end: bool) -> bool:  # noqa: ARG002
        """Whether this moment enters the average: every update does."""
        return not epoch_end


class SWA(Component):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at epoch ends.

    The average's batch-norm statistics are re-estimated on the training images before it is evaluated.
    """

    kind: Literal["swa"] = "swa"
    start: float = setting(0.75, "when averaging begins, as a fraction of all epochs", ge=0, lt=1)

    def build(self, model: nn.Module) -> AveragedModel:
        """The mean so far, starting empty."""
        return AveragedModel(model)

    def takes(self, epoch: int, epochs: int, *, epoch_end: bool) -> bool:
        """Whether this moment enters the average: the ends of the later epochs do, at least the last's."""
        return epoch_end and epoch + 1 > self.start * epochs


AnyAveraging = Annotated[EMA | SWA, Field(discriminator="kind")]
