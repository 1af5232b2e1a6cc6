"""What a policy can be rewarded for. A new objective is one file and one name in ``AnyObjective``."""

from typing import Annotated

from pydantic import Field

from reinforced.objectives.base import LossTerms, Objective, Rollout
from reinforced.objectives.cross_entropy import CrossEntropy
from reinforced.objectives.expected_pg import ExpectedPG
from reinforced.objectives.reinforce import Reinforce

AnyObjective = Annotated[CrossEntropy | Reinforce | ExpectedPG, Field(discriminator="kind")]

__all__ = ["AnyObjective", "CrossEntropy", "ExpectedPG", "LossTerms", "Objective", "Reinforce", "Rollout"]
