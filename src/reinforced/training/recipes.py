"""Finding a recipe by name, resolving its size and overrides, and saying in one line what is wrong."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException, UnsupportedValueType
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.training.recipe import SCHEMA, Recipe


def recipe_names() -> list[str]:
    """The shipped recipes, such as ``zou2026/cifar10-rl``."""
    root = _shipped()
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def load_recipe(name: str, *, size: str = "full", overrides: Sequence[str] = ()) -> Recipe:
    """A validated recipe.

    Args:
        name: a shipped recipe's name, or the path of a YAML file.
        size: ``full``, or a key of the recipe's ``sizes`` section, whose entries are overrides too.
        overrides: ``key.path=value`` as in Hydra, ``phases.0.objective.kind=expected_pg``; later ones win.
            A new ``kind`` keeps those of the old settings that it has a field for; a mapping replaces what
            was there.

    Raises:
        ReinforcedError: no such recipe or size, broken YAML, an unknown field or a value out of range.
    """
    path, label = _find(name)
    config = read_yaml(path)
    for key, value in _pop_size(config, size, label).items():
        _override(config, str(key), value, f"{label}: size {size}")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ReinforcedError(f"override {text!r}: write it as key.path=value")
        try:
            _override(config, key, yaml.safe_load(value), f"override {text!r}")
        except yaml.YAMLError:
            raise ReinforcedError(f"override {text!r}: the value is not YAML") from None
    if "name" not in config:
        config["name"] = label
    if size != "full" or "size" not in config:
        config["size"] = size
    return validate_recipe(OmegaConf.to_container(config), label)


def _pop_size(config: DictConfig, size: str, label: str) -> dict[Any, Any]:
    """Take the ``sizes`` section out of a recipe; the overrides of one size."""
    sizes: Any = cast("dict[Any, Any]", OmegaConf.to_container(config)).get("sizes") or {}
    if not isinstance(sizes, dict) or not all(isinstance(entry, dict) for entry in sizes.values()):
        raise ReinforcedError(f"{label}: sizes: write a mapping of key.path: value for each size")
    config.pop("sizes", None)
    if size != "full" and size not in sizes:
        raise ReinforcedError(
            f"recipe {label} has no size {size!r}{did_you_mean(size, ['full', *map(str, sizes)])}"
        )
    overrides: dict[Any, Any] = sizes.get(size, {})
    return overrides


def validate_recipe(values: Any, label: str) -> Recipe:
    """A recipe from plain values; ``label`` says in errors where they come from."""
    if not isinstance(values, dict):
        raise ReinforcedError(f"{label}: a recipe is a mapping of fields, got {type(values).__name__}")
    version = values.get("schema", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise ReinforcedError(
            f"{label}: written for recipe schema {version}, this version reads up to {SCHEMA};"
            " upgrade reinforced"
        )
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ReinforcedError(f"{label}: {explain(error)}") from None


def recipe_yaml(recipe: Recipe) -> str:
    """A resolved recipe as YAML that :func:`load_recipe` reads back to an equal one."""
    values = recipe.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def recipe_fields() -> Iterator[tuple[str, str, str, str, str]]:
    """Every field a recipe can have: (path, type or choices and unit, default, description, source)."""
    yield from _describe(Recipe, "", {})


def _shipped() -> Path:
    return Path(str(resources.files("reinforced"))) / "recipes"


def _find(name: str) -> tuple[Path, str]:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ReinforcedError(f"no recipe file {name}")
        return path, path.stem
    shipped = recipe_names()
    if name in shipped:
        return _shipped() / f"{name}.yaml", name
    family = [other for other in shipped if other.startswith(f"{name}/")]
    if family:
        raise ReinforcedError(f"{name} is a family of recipes: {', '.join(family)}")
    raise ReinforcedError(f"no recipe {name!r}{did_you_mean(name, shipped)} (a file needs its .yaml)")


def read_yaml(path: Path, what: str = "recipe") -> DictConfig:
    """The mapping in a file; ``what`` it should be, for the message.

    Raises:
        ReinforcedError: not YAML, no mapping, or a file that cannot be read.
    """
    try:
        config = OmegaConf.load(path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ReinforcedError(f"{path}: not YAML{where}: {problem}") from None
    except (OSError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ReinforcedError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, DictConfig):
        raise ReinforcedError(f"{path}: a {what} is a mapping of fields")
    return config


def _override(config: DictConfig, key: str, value: Any, label: str) -> None:
    parent_key, _, leaf = key.rpartition(".")
    try:
        if leaf == "kind":
            parent = OmegaConf.select(config, parent_key)
            known = _fields_at([*_parts(parent_key), str(value)])
            if isinstance(parent, DictConfig) and known and parent.get("kind") != value:
                for name in [str(name) for name in parent if str(name) not in known]:
                    parent.pop(name)
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    except (UnsupportedValueType, GrammarParseError) as error:
        raise ReinforcedError(f"{label}: {str(error).splitlines()[0]}") from None
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError, IndexError):
        near = _nearest_parent(config, _parts(key))
        raise ReinforcedError(f"{label}: the recipe has no place {key!r}{near}") from None


def _nearest_parent(config: Any, parts: list[int | str]) -> str:
    for depth, part in enumerate(parts):
        if isinstance(config, ListConfig) and not (isinstance(part, int) and part < len(config)):
            here = ".".join(map(str, parts[:depth]))
            return f"; {here} has entries 0 to {len(config) - 1}"
        try:
            config = config[part]
        except (OmegaConfBaseException, KeyError, TypeError):
            break
    return ""


def _parts(key: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in key.split(".")]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation, through Annotated, unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _kind(model: type[BaseModel]) -> str | None:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _walk(
    loc: Sequence[int | str], root: type[BaseModel] = Recipe
) -> tuple[list[type[BaseModel]], list[str]]:
    """The models a location ends in, and its parts as a user writes them (without union tags)."""
    current: list[type[BaseModel]] = [root]
    written: list[str] = []
    for part in loc:
        tagged = [model for model in current if _kind(model) == part]
        if tagged:
            current = tagged
            continue
        written.append(str(part))
        if isinstance(part, str):
            current = [
                inner
                for model in current
                for name, field in model.model_fields.items()
                if part in (name, field.alias)
                for inner in _models(field.annotation)
            ]
    return current, written


def _fields_at(loc: Sequence[int | str], root: type[BaseModel] = Recipe) -> list[str]:
    models, _ = _walk(loc, root)
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


_PLAIN = {
    "model_type": "give a mapping of its fields",
    "model_attributes_type": "give a mapping of its fields",
    "tuple_type": "give a list",
}


def explain(refused: ValidationError, root: type[BaseModel] = Recipe) -> str:
    """What is wrong with the fields of a ``root``, and the nearest right thing, in one line."""
    return " ".join(_explain(refused.errors()[0], root).split())


def _explain(error: ErrorDetails, root: type[BaseModel]) -> str:
    loc = error["loc"]
    models, written = _walk(loc, root)
    where = ".".join(written) or root.__name__.lower()
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown field{did_you_mean(str(loc[-1]), _fields_at(loc[:-1], root))}"
    if error["type"] == "missing":
        return f"{where}: missing, and it has no default"
    if error["type"] == "union_tag_invalid":
        kinds = [kind for model in models if (kind := _kind(model))]
        return f"{where}.kind: unknown kind {context['tag']!r}{did_you_mean(str(context['tag']), kinds)}"
    if error["type"] == "union_tag_not_found":
        kinds = [kind for model in models if (kind := _kind(model))]
        return f"{where}.kind: missing; known: {', '.join(kinds)}"
    if error["type"] == "value_error":
        return f"{where}: {context['error']}"
    given = repr(error["input"])
    message = _PLAIN.get(error["type"], error["msg"][0].lower() + error["msg"][1:])
    return f"{where}: {message}, got {given if len(given) <= 60 else given[:57] + '...'}"


def _describe(
    model: type[BaseModel], prefix: str, seen: dict[type[BaseModel], str]
) -> Iterator[tuple[str, str, str, str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        extra = typing.cast(dict[str, str], field.json_schema_extra or {})
        inner = _models(field.annotation)
        many = typing.get_origin(field.annotation) is tuple
        if not inner and name != "kind":
            default = "required" if field.is_required() else _shown(field.default)
            kind = _type_name(field.annotation) + (f" [{extra['unit']}]" if extra.get("unit") else "")
            yield path, kind, default, field.description or "", extra.get("source", "")
        for part in inner:
            tag = f"<{_kind(part)}>" if _kind(part) else ""
            summary = (part.__doc__ or "").strip().splitlines()[0]
            here = f"{path}{'.N' if many else ''}{tag}"
            yield here, "", "", f"{field.description or ''}: {summary}", ""
            if part in seen:  # an adversary within an adversary, say
                yield f"{here}.*", "", "", f"the fields of {seen[part]}", ""
                continue
            seen[part] = here
            yield from _describe(part, f"{here}.", seen)


def _shown(value: Any) -> str:
    return "none" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (types.UnionType, typing.Union):
        return " | ".join("none" if part is type(None) else _type_name(part) for part in arguments)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is tuple:
        return f"[{', '.join('...' if part is Ellipsis else _type_name(part) for part in arguments)}]"
    return getattr(annotation, "__name__", str(annotation))
