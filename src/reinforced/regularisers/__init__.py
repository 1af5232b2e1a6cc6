"""What can be added to a step's loss. A new regulariser is one file and one name in ``AnyRegulariser``."""

from typing import Annotated

from pydantic import Field

from reinforced.regularisers.base import Regulariser, twice_differentiable
from reinforced.regularisers.gradient_alignment import GradientAlignment
from reinforced.regularisers.input_gradient import InputGradient
from reinforced.regularisers.jacobian import Jacobian
from reinforced.regularisers.label_smoothing import LabelSmoothing
from reinforced.regularisers.logit_norm import LogitNorm
from reinforced.regularisers.spectral_norm import SpectralNorm
from reinforced.regularisers.spectral_penalty import SpectralPenalty

AnyRegulariser = Annotated[
    InputGradient
    | Jacobian
    | GradientAlignment
    | SpectralPenalty
    | SpectralNorm
    | LogitNorm
    | LabelSmoothing,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyRegulariser",
    "GradientAlignment",
    "InputGradient",
    "Jacobian",
    "LabelSmoothing",
    "LogitNorm",
    "Regulariser",
    "SpectralNorm",
    "SpectralPenalty",
    "twice_differentiable",
]
