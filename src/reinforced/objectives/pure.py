"""The objectives that are no mixture of others, which a mixture can therefore be made of."""

from reinforced.objectives.cross_entropy import CrossEntropy
from reinforced.objectives.expected_pg import ExpectedPG
from reinforced.objectives.gce import GCE
from reinforced.objectives.ppo import PPO
from reinforced.objectives.reinforce import Reinforce
from reinforced.objectives.truncated import Truncated

PureObjective = CrossEntropy | Reinforce | ExpectedPG | PPO | GCE | Truncated
