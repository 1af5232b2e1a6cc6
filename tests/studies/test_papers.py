"""The shipped study files: every row resolves, every checkpoint that is asked for is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.measures.attack import Attack
from reinforced.studies.reproduce.measures.derived import Difference, Peak
from reinforced.studies.reproduce.measures.indicator import Indicator
from reinforced.studies.reproduce.measures.metric import Metric
from reinforced.studies.reproduce.paper import Paper, choose_tables, load_paper, paper_names
from reinforced.studies.reproduce.shelf import recipe_of
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
def test_no_two_rows_are_the_same_runs_of_the_size(name: str, size: str) -> None:
    paper = load_paper(name)
    found = dict(recipes(paper, size))
    plain = [
        (recipe.model_dump_json(exclude={"name", "source", "published"}), seed)
        for label, recipe in found.items()
        for seed in paper.seeds(label, size)
    ]
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
            for recipe in (trained[label] for label in paper.labels(table)):
                assert recipe.probe is not None, column.id
                epoch = recipe.epochs if column.checkpoint == "last" else int(column.checkpoint)
                assert epoch <= recipe.epochs, column.id
                assert recipe.probe.due(epoch, recipe.epochs), column.id
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


@pytest.mark.parametrize("size", ["cpu", "full"])
def test_the_ablation_and_zou_share_the_runs_of_both_kinds_of_rl(size: str) -> None:
    here, there = (dict(recipes(load_paper(name), size)) for name in ("zou2026", "ablation"))
    hidden = {"name", "source", "published"}
    for label, other in (("RL", "REINFORCE, coin a batch"), ("RL-expected", "expected PG")):
        assert here[label].model_dump(exclude=hidden) == there[other].model_dump(exclude=hidden)


def test_every_budget_of_zou_is_attacked_as_released_and_corrected() -> None:
    paper = load_paper("zou2026")
    for threat in ("l2:1", "l2:3.5", "l2:7", "linf:8/255", "l2:0.5"):
        own = [one for _, one in paper.columns("cpu") if isinstance(one, Attack) and one.threat == threat]
        assert any(one.attacks == ("autoattack",) for one in own)
        (released,) = [one for one in own if one.of == "released"]
        (corrected,) = [one for one in own if one.of == "worst" and one.attacks == released.attacks]
        (procedure,) = corrected._chosen().released
        (sound,) = corrected._chosen().sealed
        assert isinstance(procedure, PGDAsReleased)
        assert isinstance(sound, PGD)
        assert (procedure.step, procedure.steps) == (sound.step, sound.steps)


def test_a_step_of_the_path_is_one_that_it_has() -> None:
    paper = load_paper("zou2026")
    columns = [one for _, one in paper.columns("cpu") if isinstance(one, Indicator)]
    steps = [
        (int(one.statistic.removeprefix("step ")), one.steps)
        for one in columns
        if one.statistic.startswith("step ")
    ]
    assert len(steps) > 2
    assert all(1 <= step < of for step, of in steps)  # of the first step there is no cosine
    entropies = {one.statistic for one in columns if one.name == "entropy"}
    assert entropies == {"clean right", "clean wrong", "adversarial right", "adversarial wrong"}


def test_transfers_are_made_on_rows_of_several_seeds() -> None:
    paper = load_paper("zou2026")
    for size, given in paper.sizes.items():
        lent = {label for _, column in paper.columns(size) if column.all_seeds for label in column.sources}
        assert lent == {row.label for row in paper.rows}
        assert all(len(paper.row(label).seeds.get(size, given.seeds)) > 1 for label in lent)


def test_at_full_size_the_decaying_rows_are_trained_as_their_recipe_says() -> None:
    own = load_recipe("baselines/fast-at", size="full", overrides=[])
    found = [recipe for label, recipe in recipes(load_paper("overfitting"), "full") if "cosine" in label]
    assert len(found) == 2
    for recipe in found:
        assert recipe.optimizer == own.optimizer
        assert recipe.phases[0].schedule == own.phases[0].schedule
        assert recipe.epochs == own.epochs


@pytest.mark.parametrize("size", ["cpu", "full"])
def test_robust_overfitting_has_both_splits_over_the_epochs_and_autoattack_at_three_or_more(
    size: str,
) -> None:
    paper = load_paper("overfitting")
    tested: dict[str, set[str]] = {row.label: set() for row in paper.rows}
    trained: dict[str, set[str]] = {row.label: set() for row in paper.rows}
    for table, column in paper.columns(size):
        for label in paper.labels(table):
            if isinstance(column, Attack) and column.attacks == ("autoattack",):
                tested[label].add(column.checkpoint)
            if isinstance(column, Metric) and column.name == "robust_train_accuracy":
                trained[label].add(column.checkpoint)
    assert all(len(found - {"last"}) >= 3 for found in tested.values())
    assert all(len(found - {"last"}) >= 5 for found in trained.values())


def test_a_claim_about_a_loss_keeps_catastrophic_overfitting_apart() -> None:
    found = 0
    for claim in load_paper("overfitting").claims:
        lost = [one for one in claim.conditions if one.cell.column.endswith("lost")]
        rows = {term.row for one in lost for term in one.terms}
        apart = {one.cell.row for one in claim.given if (one.cell.column, one.most) == ("collapses", 0)}
        assert apart == rows, claim.claim
        found += len(lost)
    assert found >= 5


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_a_peak_is_of_every_epoch_of_its_column_and_on_the_images_of_the_end(name: str, size: str) -> None:
    found = {column.id: column for _, column in load_paper(name).columns(size)}
    for column in found.values():
        if isinstance(column, Peak):
            series = {one for one in found if one.startswith(column.parts[0].partition("@")[0] + "@")}
            assert set(column.parts) == series, column.id
        if isinstance(column, Difference):
            parts = [found[part] for part in column.parts]
            of = [found[part.parts[0]] if isinstance(part, Peak) else part for part in parts]
            assert len({part.few for part in of}) == 1, column.id


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
            "measure: indicator, threat: 'l2:1', name: gradient_cosine",
            "column clean: no indicator 'gradient_cosine'; did you mean 'gradient_cosine(ce)'?",
        ),
        (
            "measure: clean",
            "measure: indicator, threat: 'l2:1', name: path_norm, statistic: step 21",
            "column clean: path_norm has no 'step 21'; did you mean 'step 2",
        ),
        (
            "measure: clean",
            "measure: indicator, threat: 'l2:1', name: entropy, statistic: right",
            "column clean: entropy has no 'right'",
        ),
        (
            "measure: clean",
            "measure: attack, threat: 'l2:1', attacks: [fgsm], of: stalled",
            "column clean: of: stalled, but none of its attacks is as released",
        ),
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
        (
            "columns: [",
            "rows: [SL], figure: {x: clean, y: robust, curves: {all: [SL]}}, columns: [",
            "table 1: figure: no column 'robust'; known: clean",
        ),
        (
            "columns: [",
            "rows: [SL], figure: {x: clean, y: clean, curves: {all: [RL]}}, columns: [",
            "table 1: curve all: no row 'RL'; did you mean 'SL'?",
        ),
        (
            "tables:",
            "claims: [{claim: So., source: us, conditions: "
            "[{cell: {row: SL, column: clean}, least: 0, seeds: [7]}]}]\ntables:",
            "claims: size cpu: row SL has no seed 7",
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
