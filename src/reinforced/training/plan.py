"""A recipe's phases laid out in updates and epochs, once the number of training images is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reinforced.errors import ReinforcedError
from reinforced.training.recipe import Phase, Recipe


@dataclass(frozen=True)
class Stretch:
    """A phase in its place.

    Attributes:
        phase: what is trained.
        index: of the phase.
        first: epoch of the run it begins with, from 0.
        steps: updates of all its epochs; its last epoch is cut short where a budget ends.
        epoch_steps: updates of a whole epoch.
    """

    phase: Phase
    index: int
    first: int
    steps: int
    epoch_steps: int

    @property
    def epochs(self) -> int:
        """Epochs, the last perhaps not whole."""
        return math.ceil(self.steps / self.epoch_steps)

    def within(self, epoch: int, batch: int = 0) -> int:
        """Updates of this phase before batch ``batch`` of epoch ``epoch`` of the run."""
        return (epoch - self.first) * self.epoch_steps + batch

    def batches(self, epoch: int) -> int:
        """Updates in epoch ``epoch`` of the run."""
        return min(self.epoch_steps, self.steps - self.within(epoch))


@dataclass(frozen=True)
class Plan:
    """All phases in their places."""

    stretches: tuple[Stretch, ...]

    @property
    def epochs(self) -> int:
        """Epochs of the run."""
        last = self.stretches[-1]
        return last.first + last.epochs

    def at(self, epoch: int) -> Stretch:
        """The phase of an epoch of the run."""
        return next(one for one in reversed(self.stretches) if one.first <= epoch)

    def steps_before(self, epoch: int) -> int:
        """Updates of all earlier epochs."""
        here = self.at(epoch)
        return sum(one.steps for one in self.stretches[: here.index]) + here.within(epoch)

    @property
    def steps(self) -> int:
        """Updates of the run."""
        return sum(one.steps for one in self.stretches)


def plan(recipe: Recipe, images: int) -> Plan:
    """Lay out a recipe on so many training images.

    A budget decides the last phase's length in place of its ``epochs``: as many updates as fit.

    Raises:
        ReinforcedError: a batch is larger than the data, or the budget ends before the last phase begins.
    """
    epoch_steps = images // recipe.batch_size
    if epoch_steps == 0:
        raise ReinforcedError(
            f"batch_size {recipe.batch_size} is larger than the {images} training images; "
            "choose a smaller one"
        )
    stretches: list[Stretch] = []
    first = 0
    for index, phase in enumerate(recipe.phases):
        steps = phase.epochs * epoch_steps
        if recipe.budget is not None and index == len(recipe.phases) - 1:
            steps = _affordable(recipe, stretches, recipe.budget.passes)
        stretches.append(Stretch(phase, index, first, steps, epoch_steps))
        first += stretches[-1].epochs
    return Plan(tuple(stretches))


def _affordable(recipe: Recipe, before: list[Stretch], budget: float) -> int:
    spent = sum(one.steps * one.phase.passes.total for one in before) * recipe.batch_size
    cost = recipe.phases[-1].passes.total * recipe.batch_size
    steps = int((budget - spent) / cost + 1e-9)
    if steps < 1:
        raise ReinforcedError(
            f"budget.passes {budget:g} is spent before the last phase's first update: the phases before it "
            f"take {spent:g} passes, an update takes {cost:g}"
        )
    return steps
