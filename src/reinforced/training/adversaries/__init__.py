"""Which images a training step sees. A new adversary is one file and one name in ``AnyAdversary``."""

from typing import Annotated

from pydantic import Field

from reinforced.training.adversaries.base import Adversary, View, Views
from reinforced.training.adversaries.fgsm import FGSM
from reinforced.training.adversaries.none import NoAdversary

AnyAdversary = Annotated[NoAdversary | FGSM, Field(discriminator="kind")]

__all__ = ["FGSM", "Adversary", "AnyAdversary", "NoAdversary", "View", "Views"]
