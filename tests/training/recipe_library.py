"""What the tests of the shipped recipes share: their names, and how two of them are compared."""

from __future__ import annotations

from reinforced.objectives import CrossEntropy, Reinforce
from reinforced.training.adversaries import TRADES
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import recipe_names

SMALL = ("quickstart",)  # families that are small enough as they are
LIBRARY = [name for name in recipe_names() if name.split("/")[0] not in SMALL]
EVERY = [
    *((name, "full") for name in recipe_names()),
    *((name, "cpu") for name in LIBRARY),
]
DATA_SETS = ("cifar10", "cifar100", "imagenet100")

EPSILON = 8 / 255
RELEASED = Reinforce(exploration=0.1, coin="batch", log_floor=1e-6)
SAME_TRADES = TRADES(norm="linf", epsilon=EPSILON, beta=6, steps=10, step=0.007)


def without_objective(recipe: Recipe) -> Recipe:
    """The recipe with everything about its objectives, name and source blotted out."""
    phases = tuple(phase.model_copy(update={"objective": CrossEntropy()}) for phase in recipe.phases)
    return recipe.model_copy(update={"name": "", "source": "", "phases": phases})


def rate(recipe: Recipe, phase: int, step: int, epoch_steps: int) -> float:
    settings = recipe.phases[phase]
    factor = settings.schedule.factor(step, settings.epochs * epoch_steps, epoch_steps)
    return (settings.lr or recipe.optimizer.lr) * factor
