"""Which images a training step sees. A new adversary is one file and one name in ``AnyAdversary``."""

from typing import Annotated

from pydantic import Field

from reinforced.training.adversaries.awp import AWP
from reinforced.training.adversaries.base import Adversary, Passes, Trainee, View
from reinforced.training.adversaries.fast import Fast
from reinforced.training.adversaries.fgsm import FGSM
from reinforced.training.adversaries.free import Free
from reinforced.training.adversaries.mart import MART
from reinforced.training.adversaries.none import NoAdversary
from reinforced.training.adversaries.pgd import PGD
from reinforced.training.adversaries.trades import TRADES

AnyAdversary = Annotated[
    NoAdversary | FGSM | Fast | Free | PGD | TRADES | MART | AWP, Field(discriminator="kind")
]

__all__ = [
    "AWP",
    "FGSM",
    "MART",
    "PGD",
    "TRADES",
    "Adversary",
    "AnyAdversary",
    "Fast",
    "Free",
    "NoAdversary",
    "Passes",
    "Trainee",
    "View",
]
