"""What every configurable part is made of: frozen, strict about names, and able to describe its fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Component(BaseModel):
    """A part of a recipe: its fields ARE its settings, so one class is schema, documentation and code.

    Unknown fields are refused, values are immutable. Parts that come in kinds carry a literal ``kind``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def setting(default: Any, description: str, *, unit: str = "", source: str = "", **constraints: Any) -> Any:
    """A field of a :class:`Component` with what ``reinforced recipe --fields`` shows of it.

    Args:
        default: the value when a recipe leaves it out; ``...`` makes the field required.
        description: what it does, in one line.
        unit: of the value (``"epochs"``, ``"pixels of [0,1]"``); empty for none.
        source: the paper or code the default comes from; empty for our own choice.
        constraints: pydantic's ``ge``, ``gt``, ``le``, ``lt``, ``min_length``.
    """
    return Field(
        default, description=description, json_schema_extra={"unit": unit, "source": source}, **constraints
    )
