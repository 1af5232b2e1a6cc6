"""The studies at equal compute: what is compared differs in what is asked, and spends the same."""

from __future__ import annotations

from typing import Any

import pytest

from reinforced.studies.reproduce.measures.attack import Attack
from reinforced.studies.reproduce.paper import Paper, choose_tables, load_paper
from reinforced.studies.reproduce.shelf import recipe_of
from reinforced.training.averaging import EMA, SWA
from reinforced.training.plan import Stretch, plan
from reinforced.training.recipe import Recipe
from reinforced.training.schedules import Constant

IMAGES = {"cpu": 4577, "full": 45_000}
BUDGETED = [(name, size) for name in ("reviewers", "best") for size in IMAGES]
ADVERSARIES = {
    "SL, PGD", "SL, fast", "SL, TRADES 2", "SL, TRADES 6", "SL, PGD and AWP", "SL, TRADES 2 and AWP",
    "SL, TRADES 6 and AWP", "SL, PGD, constant rate",
}  # fmt: skip


def trained(paper: Paper, size: str) -> dict[str, Recipe]:
    rows = [row for row in paper.rows if row.recipe]
    return {row.label: recipe_of(row, size, paper.sizes[size], 3) for row in rows}


def plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude={"name", "source", "published"})


def passes(recipe: Recipe, size: str) -> float:
    return sum(one.steps * one.phase.passes.total for one in plan(recipe, IMAGES[size]).stretches) * (
        recipe.batch_size
    )


def last_factor(stretch: Stretch) -> float:
    assert stretch.phase.schedule is not None
    return stretch.phase.schedule.factor(stretch.steps - 1, stretch.steps, stretch.epoch_steps)


@pytest.mark.parametrize(("name", "size"), BUDGETED)
def test_every_row_of_a_table_spends_the_same(name: str, size: str) -> None:
    paper = load_paper(name)
    found = trained(paper, size)
    for table in paper.tables:
        spent = {label: passes(found[label], size) for label in paper.labels(table) if label in found}
        assert not spent or min(spent.values()) > 0.995 * max(spent.values()), table.number


@pytest.mark.parametrize(("name", "size"), BUDGETED)
def test_every_rate_has_fallen_where_the_budget_ends(name: str, size: str) -> None:
    for label, recipe in trained(load_paper(name), size).items():
        last = plan(recipe, IMAGES[size]).stretches[-1]
        if not isinstance(last.phase.schedule, Constant):
            assert last_factor(last) < 0.11, label


@pytest.mark.parametrize("size", list(IMAGES))
def test_rl_adv_is_sl_adv_but_for_the_objective(size: str) -> None:
    found = trained(load_paper("reviewers"), size)
    settings = []
    for label in ("SL-adv", "RL-adv", "RL-adv expected", "SL-adv fading into RL-adv"):
        settings.append(plain(found[label]))
        settings[-1]["phases"][0].pop("objective")
    assert all(one == settings[0] for one in settings)


@pytest.mark.parametrize("size", list(IMAGES))
def test_a_choice_is_among_five_strengths_of_one_penalty_on_sl_adv(size: str) -> None:
    paper = load_paper("reviewers")
    found = trained(paper, size)
    for row in (row for row in paper.rows if row.choose is not None):
        assert row.choose is not None
        assert len(row.choose.among) >= 5
        kinds = set()
        for label in row.choose.among:
            settings = plain(found[label])
            (penalty,) = settings["phases"][0].pop("regularisers")
            kinds.add(penalty["kind"])
            base = plain(found["SL-adv"])
            assert not base["phases"][0].pop("regularisers")
            assert settings == base
        assert len(kinds) == 1


def test_a_spectral_limit_is_one_on_batch_norm_too() -> None:
    for label, recipe in trained(load_paper("reviewers"), "cpu").items():
        if label.startswith("spectral"):
            (limit,) = recipe.phases[0].regularisers
            assert limit.model_dump()["batch_norm"] == limit.model_dump()["limit"] > 0


@pytest.mark.parametrize(("name", "size"), BUDGETED)
def test_claims_compare_the_same_attack_on_as_many_images(name: str, size: str) -> None:
    paper = load_paper(name)
    columns = {column.id: column for _, column in paper.columns(size)}
    for claim in paper.claims:
        assert claim.given, claim.claim
        for one in (*claim.given, *claim.conditions):
            first, *others = (columns[term.column] for term in one.terms)
            for other in others:
                assert (type(other), other.few, other.epoch) == (type(first), first.few, first.epoch)
                if isinstance(first, Attack) and isinstance(other, Attack):
                    assert (other.threat, other.attacks, other.of) == (first.threat, first.attacks, first.of)


@pytest.mark.parametrize("size", list(IMAGES))
def test_both_sides_of_the_best_are_the_same_but_for_one_candidate_each(size: str) -> None:
    paper = load_paper("best")
    found = trained(paper, size)
    supervised, reinforced = (row.choose.among for row in paper.rows if row.choose is not None)
    assert {*supervised, *reinforced} == set(paper.tables[0].rows)
    assert len(supervised) == len(reinforced)
    assert set(supervised) == {*ADVERSARIES, "SL, MART"}
    for label in ADVERSARIES:
        one, other = plain(found[label]), plain(found[label.replace("SL", "expected PG")])
        assert one["phases"][0].pop("objective")["kind"] == "cross_entropy"
        assert other["phases"][0].pop("objective")["kind"] == "expected_pg"
        assert one == other
    assert set(reinforced) == {label.replace("SL", "expected PG") for label in ADVERSARIES} | {
        "RL sampled, PGD"
    }


def test_the_short_averages_forget_the_untrained_weights_sooner() -> None:
    paper = load_paper("best")
    for size, decay in (("cpu", 0.99), ("full", 0.999)):
        for label, recipe in trained(paper, size).items():
            if "constant rate" in label:
                assert isinstance(recipe.averaging, SWA)
                assert isinstance(recipe.phases[0].schedule, Constant)
            else:
                assert isinstance(recipe.averaging, EMA)
                assert recipe.averaging.decay == decay


@pytest.mark.parametrize(("size", "images"), IMAGES.items())
def test_hybrids_differ_from_what_they_are_made_of_in_their_phases_alone(size: str, images: int) -> None:
    found = trained(load_paper("reviewers"), size)
    own = {"name", "source", "published", "phases"}
    groups = (
        ("SL-adv, TRADES", "RL-adv, TRADES", "SL-adv, then RL-adv, TRADES"),
        ("SL", "RL", "SL fading into RL", "SL, then RL", "RL, then SL"),
        ("SL-adv", "RL-adv", "RL-adv expected", "SL-adv fading into RL-adv"),
    )
    for labels in groups:
        assert len({found[label].model_dump_json(exclude=own) for label in labels}) == 1
    for label in (one for labels in groups for one in labels if "then" in one):
        first, second = plan(found[label], images).stretches
        assert first.steps == pytest.approx(second.steps, rel=0.05), label


def test_trade_offs_are_drawn_over_the_strengths_with_autoattack() -> None:
    paper = load_paper("reviewers")
    (table,) = choose_tables(paper, ["5.2"], "reviewers")
    assert table.figure is not None
    assert [row for rows in table.figure.curves.values() for row in rows] == list(table.rows)
    assert all(len(rows) >= 3 for rows in table.figure.curves.values())
    (column,) = [one for one in table.columns if one.id == table.figure.y]
    assert isinstance(column, Attack)
    assert column.attacks == ("autoattack",)
