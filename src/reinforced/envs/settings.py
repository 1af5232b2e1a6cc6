"""The options of the environments, and the images they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from pydantic import ValidationError, field_validator

from reinforced.component import Component, setting
from reinforced.data import Dataset, Split, load
from reinforced.data.places import data_root
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.objectives.policy import NAMED_REWARDS, RewardObjective


class ClassificationSettings(Component):
    """What an episode shows and what its answer earns."""

    source: str = setting("digits", "data source: digits, cifar10, npz:PATH, ...")
    split: Literal["train", "validation", "test"] = setting("train", "which images")
    size: int | None = setting(None, "side of the images; the source's own if left out", unit="px", ge=1)
    limit: int | None = setting(None, "draw from this many training images only", unit="images", ge=1)
    reward: tuple[float, float] = setting(
        NAMED_REWARDS["zero_one"],
        "reward of the right and of the wrong class; also by name: zero_one (1/0), plus_minus (+1/-1)",
        source="Zou et al. 2026: 1/0; Gupta 2020: +1/-1",
    )
    looks: int = setting(1, "steps of an episode; above 1 the image is uncovered window by window", ge=1)
    window: float = setting(0.5, "side of a window as a share of the image's, if looks > 1", gt=0, le=1)
    root: Path | None = setting(None, "folder of data sets, see reinforced.data.load")

    @field_validator("reward", mode="before")
    @classmethod
    def _as_in_the_objectives(cls, value: object) -> object:
        try:
            return RewardObjective.model_validate({"reward": value}).reward
        except ValidationError as error:
            raise ValueError(_told(error)) from None


def parse_settings(options: dict[str, Any]) -> ClassificationSettings:
    """Settings from an environment's keyword arguments.

    Raises:
        ReinforcedError: an unknown option, or a value out of range.
    """
    known = ClassificationSettings.model_fields
    for name in options:
        if name not in known:
            raise ReinforcedError(f"the environment has no option {name!r}{did_you_mean(name, known)}")
    try:
        return ClassificationSettings.model_validate(options)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise ReinforcedError(f"environment option {name}={options[name]!r}: {_told(error)}") from None


def _told(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


# Sixteen environments side by side share one copy of the images, for as long as any of them lives.
_LOADED: WeakValueDictionary[tuple[object, ...], Dataset] = WeakValueDictionary()


def open_dataset(settings: ClassificationSettings) -> Dataset:
    """The data set that the settings name.

    Raises:
        ReinforcedError: no such source, or its data cannot be used.
    """
    key = (settings.source, settings.size, settings.limit, data_root(settings.root), Path.cwd())
    dataset = _LOADED.get(key)
    if dataset is None:
        dataset = load(settings.source, size=settings.size, limit=settings.limit, root=settings.root)
        _LOADED[key] = dataset
    return dataset


def split_of(dataset: Dataset, settings: ClassificationSettings) -> Split:
    """The images that the settings choose."""
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}[settings.split]
