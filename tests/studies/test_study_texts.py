"""Figures in a study's own words are settings, bounds or the paper's: none is a result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from reinforced.studies.reproduce.page import without_names
from reinforced.studies.reproduce.paper import Paper, load_paper, paper_names
from reinforced.studies.reproduce.shelf import recipe_of

LOSSLESS = 5085.0
"""Training images of cifar10-lossless-6k.npz: the one figure here that is a data set's."""
NUMERAL = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE]-?\d+)?(?![\w])")


def numerals(text: str) -> Iterator[float]:
    """Every number in a text that is no part of a name."""
    for found in NUMERAL.findall(without_names(text)):
        yield float(found.replace(",", "").rstrip("."))


def values(thing: Any) -> Iterator[float]:
    """Every number anywhere in a setting, those inside of attacks' names and commands as well."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield from values(key)
            yield from values(value)
    elif isinstance(thing, (list, tuple)):
        for value in thing:
            yield from values(value)
    elif isinstance(thing, str):
        yield from (float(one) for one in re.findall(r"\d+(?:\.\d+)?", thing))
    elif isinstance(thing, (int, float)):
        yield float(thing)


def settings(paper: Paper) -> set[float]:
    """What a text may name: sizes, resolved recipes, columns, bounds and the paper's figures."""
    found = {LOSSLESS}
    for name, size in paper.sizes.items():
        found |= set(values(size.model_dump(exclude={"note"})))
        for row in paper.rows:
            found |= set(values(row.seeds))
            if row.choose is None:
                recipe = recipe_of(row, name, size, size.seeds[0])
                found |= set(values(recipe.model_dump(mode="json", exclude={"published", "source"})))
    for table in paper.tables:
        found |= {one for column in table.columns for one in values(column.model_dump(exclude={"title"}))}
    found |= {one.percent for one in paper.published}
    for claim in paper.claims:
        bounds = [end for one in (*claim.given, *claim.conditions) for end in (one.least, one.most)]
        found |= {abs(scale * end) for end in bounds if end is not None for scale in (1, 100)}
    return {abs(one) for one in found} | {round(100 * one, 6) for one in found if 0 < abs(one) < 1}


def texts(paper: Paper) -> Iterator[str]:
    yield from (paper.question, *paper.assumed, *(size.note for size in paper.sizes.values()))
    for table in paper.tables:
        yield from (table.title, table.note, *(column.title for column in table.columns))
    for claim in paper.claims:
        yield from (claim.note,)
        # A paper's claim states the paper's own figures.
        yield from () if re.search(r"\b(?:19|20)\d\d\b", claim.source) else (claim.claim,)


@pytest.mark.parametrize("name", paper_names())
def test_a_study_says_no_figure_that_is_not_its_own(name: str) -> None:
    paper = load_paper(name)
    known = settings(paper)
    strange = [(one, text) for text in texts(paper) for one in numerals(text) if abs(one) not in known]
    assert strange == []


def test_a_result_in_a_study_s_words_is_found() -> None:
    paper = load_paper("gupta2020")
    assert list(numerals("it keeps 21.1 % [15.3, 26.9] of CIFAR-10 at L-inf 8/255")) == [21.1, 15.3, 26.9]
    assert 21.1 not in settings(paper)
