"""The recipe: everything that decides a run, as one validated value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reinforced.component import Component, setting
from reinforced.data import Augment
from reinforced.objectives import AnyObjective, CrossEntropy
from reinforced.regularisers import AnyRegulariser
from reinforced.training.adversaries import AnyAdversary, NoAdversary, Passes
from reinforced.training.averaging import AnyAveraging
from reinforced.training.optimizers import AdamW, AnyOptimizer
from reinforced.training.probe import Probe
from reinforced.training.schedules import AnySchedule, Constant

SCHEMA = 1


class DataSettings(Component):
    """Which images, and how they are varied while training."""

    source: str = setting(..., "digits, cifar10, npz:PATH, ...: see `reinforced data --help`")
    size: int | None = setting(None, "side of the square images; the source's own if left out", unit="px")
    validation: float = setting(
        0.1, "share of the training images held out", gt=0, lt=1, source="Zou et al. 2026, released code"
    )
    limit: int | None = setting(None, "train on this many images only", unit="images", ge=1)
    augment: Augment = setting(Augment(), "random changes of each training image")


class ModelSettings(Component):
    """Which network, and how it begins."""

    name: str = setting(..., "built in, timm:NAME, or module:function")
    normalize: str = setting("none", "input normalisation inside the model: none, cifar10, imagenet, ...")
    pretrained: bool = setting(False, "timm's pre-trained weights")
    weights: str | None = setting(None, "file of initial weights (.safetensors, .pth)")


class Phase(Component):
    """A stretch of training with one objective, adversary and schedule; regularisers add to any of them."""

    epochs: int = setting(..., "length", unit="epochs", ge=1)
    objective: AnyObjective = setting(CrossEntropy(), "what the classifier is rewarded for")
    adversary: AnyAdversary = setting(NoAdversary(), "which images a step sees")
    regularisers: tuple[AnyRegulariser, ...] = setting((), "penalties added to the loss, one of a kind")
    schedule: AnySchedule = setting(Constant(), "of the learning rate, over this phase")
    lr: float | None = setting(None, "base learning rate here, in place of the optimiser's", gt=0)

    @model_validator(mode="after")
    def _combines(self) -> Phase:
        reason = self.adversary.refuses(self.objective)
        if reason:
            raise ValueError(reason)
        kinds = [regulariser.kind for regulariser in self.regularisers]
        twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if twice is not None:
            raise ValueError(f"regulariser {twice} is given twice; add up the strengths")
        return self

    @property
    def passes(self) -> Passes:
        """What a step costs, an image of its batch."""
        replay = self.adversary.passes()
        penalties = Passes(regulariser=sum(regulariser.passes for regulariser in self.regularisers))
        update = Passes(forward=replay.forward, backward=replay.backward) + penalties
        return (update * self.objective.updates + Passes(crafting=replay.crafting)) * self.adversary.replays


class EarlyStopping(Component):
    """Stop when validation accuracy has not risen for a while."""

    patience: int = setting(..., "epochs without a new best before stopping", unit="epochs", ge=1)


class Budget(Component):
    """Compute to train for, so that methods of different cost can be compared at the same."""

    passes: float = setting(
        ..., "of the whole run: passes an image (forward 1, backward 2, ...) times images", gt=0
    )


class Published(Component):
    """A figure that a paper gives for this method, to be shown beside measured ones; no part of a run."""

    metric: Literal["clean", "robust"] = setting(..., "accuracy before any attack, or under one")
    percent: float = setting(..., "the figure", unit="%", ge=0, le=100)
    threat: str = setting("", "of a robust one: linf:8/255; empty if the paper does not state it")
    attack: str = setting("", "of a robust one: pgd, autoattack, ...; empty if the paper does not state it")
    source: str = setting(..., "the paper, and what else the figure depends on", min_length=1)


class Recipe(Component):
    """A complete run; two runs of the same recipe give the same bytes on the same CPU."""

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this format")
    name: str = setting("custom", "what the run is called", min_length=1)
    source: str = setting("", "the paper or code it follows, and what it assumes")
    published: tuple[Published, ...] = setting((), "figures that its paper gives, for the report")
    size: str = setting("full", "which of the recipe's sizes this is")
    seed: int = setting(0, "of every random stream", ge=0)
    data: DataSettings
    model: ModelSettings
    batch_size: int = setting(128, "images an update, over all processes", unit="images", ge=1)
    optimizer: AnyOptimizer = setting(AdamW(), "what follows the gradient; its state outlives phases")
    gradient_clip: float | None = setting(None, "largest gradient norm, longer ones are scaled", gt=0)
    phases: tuple[Phase, ...] = setting(..., "run one after the other", min_length=1)
    averaging: AnyAveraging | None = setting(None, "weights to evaluate and keep in place of the last ones")
    budget: Budget | None = setting(None, "train the last phase until this much is spent, not its epochs")
    probe: Probe | None = setting(None, "check robustness after each epoch")
    keep_every: int | None = setting(None, "keep each so many epochs' weights", unit="epochs", ge=1)
    early_stopping: EarlyStopping | None = setting(None, "stop before the last epoch")
    precision: Literal["auto", "float32", "bf16"] = setting(
        "auto", "auto is bf16 where the hardware is fast at it, else float32"
    )
    compile: bool = setting(False, "torch.compile the network")

    @model_validator(mode="after")
    def _averaging_fits(self) -> Recipe:
        if self.averaging is not None and self.early_stopping is not None and self.averaging.kind == "swa":
            raise ValueError("swa averages the last epochs, which early_stopping may never reach; choose one")
        return self

    @model_validator(mode="after")
    def _compiles(self) -> Recipe:
        twice = [one.kind for phase in self.phases for one in phase.regularisers if one.differentiates_twice]
        if self.compile and twice:
            raise ValueError(
                f"compiled code cannot be differentiated twice, as {twice[0]} does; set compile=false"
            )
        return self

    @property
    def epochs(self) -> int:
        """Epochs of all phases; a budget may make them more or fewer."""
        return sum(phase.epochs for phase in self.phases)
