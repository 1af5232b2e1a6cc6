"""The shipped study files: every row resolves, every checkpoint that is asked for is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.measures.metric import Metric
from reinforced.studies.reproduce.paper import Paper, choose_tables, load_paper, paper_names
from reinforced.studies.reproduce.shelf import recipe_of
from reinforced.training.averaging import EMA
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe

SIZES = [(name, size) for name in paper_names() for size in ("cpu", "full")]


def recipes(paper: Paper, size: str) -> Iterator[tuple[str, Recipe]]:
    for row in paper.rows:
        if row.recipe:
            yield row.label, recipe_of(row, size, paper.sizes[size], 3)


def test_all_six_studies_are_shipped() -> None:
    assert paper_names() == ["ablation", "best", "gupta2020", "overfitting", "reviewers", "zou2026"]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_rows_are_different_recipes_of_the_size(name: str, size: str) -> None:
    paper = load_paper(name)
    found = dict(recipes(paper, size))
    plain = [recipe.model_dump_json(exclude={"name", "source", "published"}) for recipe in found.values()]
    assert len(set(plain)) == len(plain)
    assert {recipe.size for recipe in found.values()} == {paper.sizes[size].recipe}
    assert {recipe.seed for recipe in found.values()} == {3}


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_epoch_asked_for_is_kept(name: str, size: str) -> None:
    paper = load_paper(name)
    trained = dict(recipes(paper, size))
    for table, column in paper.columns(size):
        for label in paper.labels(table):
            if column.epoch.isdecimal() and not isinstance(column, Metric):
                recipe, epoch = trained[label], int(column.epoch)
                assert recipe.keep_every is not None, (label, column.id)
                assert epoch % recipe.keep_every == 0, (label, column.id)
                assert epoch <= recipe.epochs, (label, column.id)


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_what_training_is_asked_for_it_writes_down(name: str, size: str) -> None:
    paper = load_paper(name)
    trained = dict(recipes(paper, size))
    for table, column in paper.columns(size):
        if isinstance(column, Metric) and column.name.startswith("robust"):
            assert all(trained[label].probe is not None for label in paper.labels(table))
    for row in paper.rows:
        if row.choose is not None:
            assert all(trained[label].probe is not None for label in row.choose.among)


def test_the_ablation_differs_in_the_objective_alone() -> None:
    paper = load_paper("ablation")
    for size in paper.sizes:
        plain = set()
        for _, recipe in recipes(paper, size):
            (phase,) = recipe.phases
            same = phase.model_copy(update={"objective": None})
            hidden = {"name", "source", "published", "phases"}
            plain.add(recipe.model_dump_json(exclude=hidden) + same.model_dump_json(warnings=False))
        assert len(plain) == 1


def test_transfers_are_made_on_rows_of_several_seeds() -> None:
    paper = load_paper("zou2026")
    for size, given in paper.sizes.items():
        lent = {label for _, column in paper.columns(size) if column.all_seeds for label in column.sources}
        assert lent == {row.label for row in paper.rows}
        assert all(len(paper.row(label).seeds.get(size, given.seeds)) > 1 for label in lent)


def test_the_short_averages_forget_the_untrained_weights_sooner() -> None:
    paper = load_paper("best")
    for size, decay in (("cpu", 0.99), ("full", 0.999)):
        averages = {label: recipe.averaging for label, recipe in recipes(paper, size)}
        found = {label for label, one in averages.items() if isinstance(one, EMA) and one.decay == decay}
        assert found == {label for label in averages if label.endswith("EMA")} != set()


def test_at_full_size_the_decaying_rows_are_trained_as_their_recipe_says() -> None:
    own = load_recipe("baselines/fast-at", size="full", overrides=[])
    found = [recipe for label, recipe in recipes(load_paper("overfitting"), "full") if "cosine" in label]
    assert len(found) == 2
    for recipe in found:
        assert recipe.optimizer == own.optimizer
        assert recipe.phases[0].schedule == own.phases[0].schedule
        assert recipe.epochs == own.epochs


def test_tables_by_number() -> None:
    paper = load_paper("gupta2020")
    assert [table.number for table in choose_tables(paper, [], "gupta2020")] == ["3.1", "3.2", "3.3", "3.4"]
    assert len(choose_tables(paper, ["3"], "gupta2020")) == 4
    assert [table.number for table in choose_tables(paper, ["3.4", "3.1"], "gupta2020")] == ["3.1", "3.4"]


MADE = """
schema: 1
title: Made
question: Is it?
sizes: {cpu: {seeds: [0], images: 8, few: 4}}
rows: [{label: SL, recipe: quickstart/sl}]
tables:
  - {number: "1", title: One, columns: [{id: clean, measure: clean}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: Made", "title: Made\ntitel: Made", "titel: unknown field; did you mean 'title'?"),
        ("measure: clean", "measure: clear", "clear"),
        ("columns: [", "rows: [RL], columns: [", "table 1: no row 'RL'; did you mean 'SL'?"),
        ("recipe: quickstart/sl", "seeds: {cpu: [1]}", "give a recipe or choose"),
        ("measure: clean", "measure: attack, threat: 'linf:8', attacks: [fgsm]", "did you mean linf:8/255?"),
        ("measure: clean", "measure: attack, threat: 'linf:0.1', attacks: [fgms]", "did you mean 'fgsm'?"),
        (
            "measure: clean",
            "measure: difference, first: a, second: b",
            "column clean: no column 'a'; known: clean",
        ),
        ("measure: clean", "measure: metric, name: passes, checkpoint: best", "give last or a number"),
        ("measure: clean}", "measure: clean}, {id: clean, measure: clean}", "column clean is in it twice"),
        (
            "tables:",
            "published: [{row: SL, column: robust, percent: 5, source: x}]\ntables:",
            "published: no column 'robust'",
        ),
        ("tables:", "claims: [{claim: So., source: us}]\ntables:", "say in note why it is not testable"),
    ],
)
def test_a_mistake_in_a_study_file_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(MADE)
    assert load_paper(str(file)).title == "Made"
    file.write_text(MADE.replace(old, new, 1))
    with pytest.raises(ReinforcedError) as refused:
        load_paper(str(file))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
