"""The page: prose of a template, and every figure in it from a record."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError, nodes

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.book import CALLS, Book
from reinforced.studies.reproduce.records import Record

NAMES = (
    r"CIFAR-100?|ImageNet-100|ResNet-\d+|DenseNet-121|PGD-\d+|L2|L_\d+|\d+/255",
    r"(?:[A-Z]\w+|et al\.) (?:19|20)\d\d",  # papers
    r"arXiv \d{4}\.\d{5}",
    r"^#+ \d+(?:\.\d+)?(?=[. ])|Table \d(?:\.\d+)?",
    r"95 %(?= (?:t-)?interval)",
    r"\]\([^)]*\)|`reinforced [^`]*`|cnn6(?:_small)?",  # targets of links, commands, networks
)
"""Digits that a template may hold, for they are names and no results."""


def without_names(text: str) -> str:
    """A text without what :data:`NAMES` allows, so that every digit left is of a figure."""
    return re.sub("|".join(NAMES), "", text, flags=re.MULTILINE)


def bare_figures(template: str) -> list[str]:
    """Figures in a template's own text, where they come from no record.

    Raises:
        ReinforcedError: it is no template.
    """
    try:
        tree = _environment().parse(template)
    except TemplateError as error:
        raise ReinforcedError(f"template: {error}") from None
    found = []
    for text in tree.find_all(nodes.TemplateData):
        found += re.findall(r"\S*\d\S*", without_names(text.data))
    return found + _constants(tree)


def render(template: str, records: Mapping[str, Record], where: str) -> str:
    """The page from a template and records by name (``gupta2020-cpu``); nothing else is read.

    Args:
        template: Jinja; see docs/reproduce.md for what it may call.
        records: as :func:`~reinforced.studies.reproduce.records.read_records` gives them.
        where: link from the page to the records' folder, for figures.

    Raises:
        ReinforcedError: a figure in the prose that comes from no record, an unknown cell, or a template that
            cannot be read.
    """
    bare = bare_figures(template)
    if bare:
        raise ReinforcedError(f"template: {bare[0]!r} comes from no record; call cell(), difference(), ...")
    book = Book(records, where)
    try:
        return _environment().from_string(template).render(book.calls())
    except TemplateError as error:
        raise ReinforcedError(f"template: {error}") from None


def _constants(node: nodes.Node) -> list[str]:
    """Constants with digits, but for the arguments of the book's calls: those name a cell."""
    if isinstance(node, nodes.Const):
        return [str(node.value)] if re.search(r"\d", str(node.value)) else []
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in CALLS:
        return []
    return [text for child in node.iter_child_nodes() for text in _constants(child)]


def _environment() -> Environment:
    return Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )


def write_page(template: Path, records: Mapping[str, Record], out: Path, folder: Path) -> str:
    """The page's text, for ``out``; links to figures go from there to ``folder``.

    Raises:
        ReinforcedError: no template, or one that :func:`render` refuses.
    """
    if not template.is_file():
        raise ReinforcedError(f"no template {template}; give the folder of records beside it: --records DIR")
    where = Path(os.path.relpath(folder, out.parent)).as_posix()
    return render(template.read_text(encoding="utf-8"), records, where)
