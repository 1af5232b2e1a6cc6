"""What a policy can be rewarded for. A new objective is one file and one name in ``PureObjective``."""

from typing import Annotated

from pydantic import Field

from reinforced.objectives.base import LossTerms, Objective, Rollout, SingleUpdate, Steady
from reinforced.objectives.cross_entropy import CrossEntropy
from reinforced.objectives.expected_pg import ExpectedPG
from reinforced.objectives.gce import GCE
from reinforced.objectives.interpolation import Interpolation
from reinforced.objectives.mixture import Mixture
from reinforced.objectives.ppo import PPO
from reinforced.objectives.pure import PureObjective
from reinforced.objectives.reinforce import Reinforce
from reinforced.objectives.truncated import Truncated

AnyObjective = Annotated[PureObjective | Interpolation, Field(discriminator="kind")]

__all__ = [
    "GCE",
    "PPO",
    "AnyObjective",
    "CrossEntropy",
    "ExpectedPG",
    "Interpolation",
    "LossTerms",
    "Mixture",
    "Objective",
    "PureObjective",
    "Reinforce",
    "Rollout",
    "SingleUpdate",
    "Steady",
    "Truncated",
]
