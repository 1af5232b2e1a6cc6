from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from reinforced.errors import ReinforcedError
from reinforced.objectives import CrossEntropy, ExpectedPG, Reinforce
from reinforced.training.optimizers import SGD, AdamW
from reinforced.training.recipe import SCHEMA, Recipe
from reinforced.training.recipes import (
    load_recipe,
    recipe_fields,
    recipe_names,
    recipe_yaml,
    validate_recipe,
)

RL = str(Path(__file__).parent / "rl.yaml")
VALUES: dict[str, Any] = {
    "schema": 1,
    "name": "full of parts",
    "data": {"source": "digits", "augment": {"translate": 0.1}},
    "model": {"name": "tiny"},
    "optimizer": {"kind": "adamw", "betas": [0.9, 0.99]},
    "phases": [
        {"epochs": 2, "objective": {"kind": "reinforce", "samples": 2, "baseline": "leave_one_out"}},
        {"epochs": 1, "adversary": {"kind": "fgsm"}, "schedule": {"kind": "step", "milestones": [0.5]}},
        {"epochs": 1, "adversary": {"kind": "awp"}, "regularisers": [{"kind": "jacobian"}]},
    ],
    "budget": {"passes": 1e9},
    "probe": {"select": True},
    "averaging": {"kind": "ema"},
    "early_stopping": {"patience": 3},
}


def refused(*overrides: str, name: str = RL, size: str = "full") -> str:
    with pytest.raises(ReinforcedError) as caught:
        load_recipe(name, size=size, overrides=overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_shipped_recipe() -> None:
    recipe = load_recipe("quickstart/rl")
    assert recipe.name == "quickstart/rl"
    assert recipe.size == "full"
    assert isinstance(recipe.phases[0].objective, Reinforce)


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    text = "{data: {source: digits}, model: {name: tiny}, phases: [{epochs: 3}]}"
    recipe = load_recipe(written(tmp_path, text))
    assert recipe.name == "mine"
    assert recipe.epochs == 3
    assert isinstance(recipe.phases[0].objective, CrossEntropy)


def test_overrides_in_order() -> None:
    recipe = load_recipe(RL, overrides=["optimizer.lr=1", "optimizer.lr=1e-4", "model.weights=null"])
    assert recipe.optimizer.lr == 1e-4
    assert recipe.model.weights is None


def test_a_new_kind_keeps_the_settings_that_it_knows() -> None:
    recipe = load_recipe(RL, overrides=["phases.0.objective.kind=expected_pg"])
    assert recipe.phases[0].objective == ExpectedPG(exploration=0.1, importance=True)
    recipe = load_recipe(RL, overrides=["optimizer.kind=sgd", "optimizer.nesterov=true"])
    assert recipe.optimizer == SGD(lr=3e-3, nesterov=True)


def test_a_mapping_replaces_a_component() -> None:
    recipe = load_recipe(RL, overrides=["phases.0.objective={kind: expected_pg, exploration: 0.2}"])
    assert recipe.phases[0].objective == ExpectedPG(exploration=0.2)
    assert load_recipe(RL, overrides=["optimizer={kind: adamw}"]).optimizer == AdamW()


def test_a_component_that_was_left_out() -> None:
    recipe = load_recipe(RL, overrides=["averaging.kind=ema", "early_stopping.patience=2"])
    assert recipe.averaging is not None
    assert recipe.averaging.kind == "ema"
    assert recipe.early_stopping is not None


def test_sizes(tmp_path: Path) -> None:
    text = (
        "{data: {source: digits}, model: {name: tiny}, phases: [{epochs: 9}],"
        " sizes: {cpu: {phases.0.epochs: 1, optimizer: {kind: sgd}}, huge: {batch_size: 9999}}}"
    )
    name = written(tmp_path, text)
    assert load_recipe(name).epochs == 9
    small = load_recipe(name, size="cpu", overrides=["batch_size=8"])
    assert (small.size, small.epochs, small.batch_size, small.optimizer) == ("cpu", 1, 8, SGD())
    assert "has no size 'hug'; did you mean 'huge'?" in refused(name=name, size="hug")
    assert "has no size 'cpu'; known: full" in refused(size="cpu")


@pytest.mark.parametrize("sizes", ["3", "[1]", "{cpu: 3}", "{cpu: [a]}"])
def test_sizes_that_are_none(tmp_path: Path, sizes: str) -> None:
    text = f"{{data: {{source: digits}}, model: {{name: tiny}}, phases: [{{epochs: 9}}], sizes: {sizes}}}"
    assert "sizes: write a mapping" in refused(name=written(tmp_path, text), size="cpu")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lrr=1", "rl: optimizer.lrr: unknown field; did you mean 'lr'?"),
        ("bach_size=1", "bach_size: unknown field; did you mean 'batch_size'?"),
        (
            "data.augment.flip_vertical=1",
            "data.augment.flip_vertical: unknown field; did you mean 'vertical_flip'?",
        ),
        ("phases.0.objective.sample=3", "phases.0.objective.sample: unknown field; did you mean 'samples'?"),
        ("phases.0.scheduel.kind=step", "phases.0.scheduel: unknown field; did you mean 'schedule'?"),
        ("schema_version=1", "schema_version: unknown field; did you mean"),
        ("optimizer.kind=adam", "optimizer.kind: unknown kind 'adam'; did you mean 'adamw'?"),
        ("phases.0.objective.kind=pppo", "phases.0.objective.kind: unknown kind 'pppo'; did you mean 'ppo'"),
        ("phases.0.adversary.kind=pdg", "phases.0.adversary.kind: unknown kind 'pdg'; did you mean 'pgd'?"),
        (
            "phases.0.adversary={kind: mart}",
            "phases.0: mart brings its own loss; use objective cross_entropy",
        ),
        ("phases.0.regularisers=[{kind: jacobain}]", "unknown kind 'jacobain'; did you mean 'jacobian'?"),
        (
            "phases.0.regularisers=[{kind: jacobian}, {kind: jacobian}]",
            "phases.0: regulariser jacobian is given twice; add up the strengths",
        ),
        ("budget={passes: 0}", "budget.passes: input should be greater than 0, got 0"),
        ("probe={threat: 'l7:1'}", "probe.threat: threat: unknown norm 'l7'"),
        ("probe={select: true, validation_images: 0}", "probe: select needs validation_images"),
        ("optimizer={lr: 1}", "optimizer.kind: missing; known: adamw, sgd, rmsprop"),
        ("phases.0.schedule.kind=step", "phases.0.schedule.milestones: missing, and it has no default"),
        ("optimizer.lr=-1", "optimizer.lr: input should be greater than 0, got -1"),
        ("optimizer.lr=.inf", "optimizer.lr: input should be a finite number, got inf"),
        ("optimizer.betas=[2, 3]", "optimizer.betas.0: input should be less than 1, got 2"),
        ("optimizer={kind: sgd, nesterov: true, momentum: 0}", "optimizer: nesterov needs momentum > 0"),
        ("batch_size=many", "batch_size: input should be a valid integer"),
        (
            "phases.0.objective.reward=lots",
            "phases.0.objective.reward: reward is a pair of numbers or one of",
        ),
        ("phases=3", "phases: give a list, got 3"),
        ("phases=[]", "phases: tuple should have at least 1 item"),
        ("data=digits", "data: give a mapping of its fields, got 'digits'"),
        ("phases.0.objective=null", "phases.0.objective: give a mapping of its fields, got None"),
        ("precision=float16", "precision: input should be 'auto', 'float32' or 'bf16', got 'float16'"),
        ("schema=2", "rl: written for recipe schema 2, this version reads up to 1; upgrade"),
        ("phases.1.epochs=2", "has no place 'phases.1.epochs'; phases has entries 0 to 0"),
        ("seed", "override 'seed': write it as key.path=value"),
        ("seed=[", "override 'seed=[': the value is not YAML"),
        ("seed=2001-01-01", "override 'seed=2001-01-01': Value 'date' is not a supported primitive type"),
        ("name=${nothing}x${", "override 'name=${nothing}x${': "),
        ("optimizer.lr.x=1", "optimizer.lr: "),
    ],
)
def test_what_is_wrong_with_an_override(override: str, expected: str) -> None:
    assert expected in refused(override)


def test_compiled_code_cannot_be_differentiated_twice() -> None:
    message = refused("compile=true", "phases.0.regularisers=[{kind: logit_norm}, {kind: jacobian}]")
    assert "compiled code cannot be differentiated twice, as jacobian does; set compile=false" in message
    assert "as gradient_alignment does" in refused(
        "compile=true", "phases.0.regularisers=[{kind: gradient_alignment}]"
    )
    load_recipe(RL, overrides=["compile=true", "phases.0.regularisers=[{kind: logit_norm}]"])


def test_swa_and_early_stopping_exclude_each_other() -> None:
    assert "choose one" in refused("averaging.kind=swa", "early_stopping.patience=2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\nc: }\n", "mine.yaml: not YAML at line 3: "),
        ("a: 1\n\tb: 2\n", "not YAML at line 2: "),
        ("seed: 1\nseed: 2\n", "not YAML at line 2: found duplicate key seed"),
        ("[1, 2]", "mine.yaml: a recipe is a mapping of fields"),
        ("just words", "mine: "),
        ("", "mine: data: missing, and it has no default"),
        ("a: \x00", "mine.yaml: not YAML: "),
        ("a: &a [*a]", "mine.yaml: "),
        ("seed: 2001-01-01", "mine: seed: input should be a valid integer"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(name=written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\xff")
    assert "latin.yaml: " in refused(name=str(tmp_path / "latin.yaml"))
    assert refused(name="nowhere/x.yaml") == "no recipe file nowhere/x.yaml"


def test_unknown_recipes() -> None:
    assert "no recipe 'quickstart/r1'; did you mean 'quickstart/rl'?" in refused(name="quickstart/r1")
    message = refused(name="quickstart")
    assert message.startswith("quickstart is a family of recipes: quickstart/rl, quickstart/rl-adv, ")


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_plain_values_that_are_no_mapping(value: object) -> None:
    with pytest.raises(ReinforcedError, match="here: a recipe is a mapping of fields, got"):
        validate_recipe(value, "here")


@pytest.mark.parametrize("name", recipe_names())
def test_a_printed_recipe_reads_back_as_itself(name: str, tmp_path: Path) -> None:
    for size in ("full", "cpu") if "sizes:" in source(name) else ("full",):
        recipe = load_recipe(name, size=size)
        assert load_recipe(written(tmp_path, recipe_yaml(recipe))) == recipe


def source(name: str) -> str:
    import reinforced

    return (Path(str(reinforced.__file__)).parent / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def test_a_recipe_of_all_parts_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = validate_recipe(VALUES, "here")
    again = load_recipe(written(tmp_path, recipe_yaml(recipe)))
    assert again == recipe
    assert yaml.safe_load(recipe_yaml(recipe))["schema"] == SCHEMA


def leaves(recipe: BaseModel, prefix: str = "") -> set[str]:
    """Paths of a recipe's fields, as ``recipe --fields`` writes them."""
    found = set()
    for name, field in type(recipe).model_fields.items():
        value = getattr(recipe, name)
        path = prefix + (field.alias or name)
        models = isinstance(value, tuple) and all(isinstance(part, BaseModel) for part in value)
        parts = value if models else [value]
        for part in parts:
            if isinstance(part, BaseModel):
                kind = getattr(part, "kind", None)
                many = ".N" if parts is value else ""
                found |= leaves(part, f"{path}{many}{f'<{kind}>' if kind else ''}.")
            elif name != "kind":
                found.add(path)
    return found


def test_every_field_is_listed_and_described() -> None:
    rows = list(recipe_fields())
    paths = [row[0] for row in rows]
    assert len(set(paths)) == len(paths)
    # A part that is listed elsewhere already is referred to, in a row that ends in ".*".
    there = tuple(path.removesuffix("*") for path in paths if path.endswith(".*"))
    missing = leaves(validate_recipe(VALUES, "here")) - set(paths)
    assert {path for path in missing if not path.startswith(there)} == set()
    assert all(path.startswith("phases.N.adversary<awp>.inner<") for path in missing)
    assert [row for row in rows if not row[3].strip() or "\n" in row[3]] == []
    listed = {row[0]: row[1:] for row in rows}
    assert listed["data.limit"][:2] == ("int | none [images]", "none")
    assert listed["data.source"][1] == "required"
    assert listed["optimizer<adamw>.betas"][:2] == ("[float, float]", "[0.9, 0.999]")
    assert listed["phases.N.objective<reinforce>.exploration"][3].startswith("Zou et al. 2026")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(["kind", "epochs", "lr", "name", "source", "phases", "schema", "a\nb", "", 3])


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid recipe's values with a few places removed, replaced or added."""
    values: Any = copy.deepcopy(VALUES)
    for _ in range(draw(st.integers(1, 3))):
        place = values
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if draw(st.booleans()) and isinstance(place[key], (dict, list)):
                place = place[key]
                continue
            change = draw(st.sampled_from(["remove", "replace", "add"]))
            if change == "remove":
                del place[key]
            elif change == "replace":
                place[key] = draw(JUNK)
            elif isinstance(place, dict):
                place[draw(NAMES)] = draw(JUNK)
            else:
                place.append(draw(JUNK))
            break
    return values


def loaded_or_refused(call: Callable[..., Recipe], *arguments: Any, **options: Any) -> Recipe | None:
    message = "one line"
    try:
        return call(*arguments, **options)
    except ReinforcedError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_whatever_is_written_loads_or_is_refused_in_one_line(values: Any) -> None:
    recipe = loaded_or_refused(validate_recipe, values, "here")
    if recipe is not None:
        assert validate_recipe(yaml.safe_load(recipe_yaml(recipe)), "again") == recipe


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mutated())
def test_a_file_of_it_too(tmp_path: Path, values: Any) -> None:
    name = written(tmp_path, yaml.safe_dump(values, allow_unicode=True))
    loaded_or_refused(load_recipe, name)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["seed", "phases", "phases.0", "phases.0.objective", "optimizer.kind", "data.augment", ""]
    )
    | st.text(max_size=12),
    JUNK.map(lambda value: yaml.safe_dump(value, allow_unicode=True)) | st.text(max_size=12),
)
def test_whatever_is_typed_loads_or_is_refused_in_one_line(key: str, value: str) -> None:
    loaded_or_refused(load_recipe, RL, overrides=[f"{key}={value}"])


def test_recipes_are_frozen(make: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        make().__setattr__("seed", 3)
