"""The comparison of all runs under each threat, and what papers say beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reinforced.report.evaluations import AttackFigures, EvaluationRecord, first_of, precedence
from reinforced.report.figure import Table
from reinforced.report.palette import VERDICTS
from reinforced.report.reading import number, objects, text
from reinforced.report.records import RunRecord
from reinforced.report.verdicts import VerdictRecord, stated

QUERY = ("square", "boundary", "hopskipjump", "rays", "random_search")
KINDS = {"PGD": ("pgd",), "AutoAttack": ("autoattack",), "Query": QUERY, "Transfer": ("transfer",)}
"""Columns of attacks, and the attacks they hold the strongest of."""
NONE = "-"


@dataclass(frozen=True)
class Value:
    """A cell: what is shown, what it is sorted by (``None``: last), a line beneath, and an explanation."""

    shown: str
    key: float | str | None = None
    beneath: str = ""
    title: str = ""


@dataclass(frozen=True)
class Head:
    """A column's name, unit and meaning."""

    name: str
    unit: str
    meaning: str


HEADS = (
    Head("Model", "", "run directory; colours are methods"),
    Head("Verdict", "", "of the judge, on a claim under this threat"),
    Head("Clean", "%", "accuracy before any attack"),
    *(Head(kind, "%", f"left by the strongest of {', '.join(names)} alone") for kind, names in KINDS.items()),
    Head("As released", "%", "what the released, unclipped procedure claims: in no worst case"),
    Head("Worst case", "%", "right under every attack, image by image, with its 95 % interval"),
    Head("Images", "", "attacked test images"),
    Head("Passes", "M", "training's network passes over one image: forward 1, full backward 2"),
    Head("Training", "s", "wall-clock seconds of training"),
    Head("Re-verified", "", "whether every adversarial example held when `reinforced verify` checked it"),
)


@dataclass(frozen=True, eq=False)
class Row:
    """A run's cells, under :data:`HEADS`."""

    run: RunRecord
    evaluation: EvaluationRecord | None
    cells: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All runs under one threat; an empty ``threat`` where none was evaluated."""

    threat: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]

    def table(self) -> Table:
        """Plain cells, shares of 1, for files."""
        heads = ("threat", "model", "method", "seed", "verdict", "clean", *KINDS, "as_released", "worst_case")
        more = ("low", "high", "images", "passes", "training_seconds", "verified")
        return Table.of("comparison", (*heads, *more), [self._plain(row) for row in self.rows])

    def _plain(self, row: Row) -> list[Any]:
        found = row.evaluation
        verdict = verdict_under(row.run, self.threat)
        keys = dict(zip((head.name for head in HEADS), _cells(row.run, self.threat, found), strict=True))
        return [
            self.threat,
            row.run.name,
            row.run.method,
            row.run.seed,
            verdict.label if verdict else None,
            *(_share(keys[name].key) for name in ("Clean", *KINDS, "As released", "Worst case")),
            *(found.interval if found else (None, None)),
            *(keys[name].key for name in ("Images", "Passes", "Training")),
            None if found is None or found.verified is None else int(found.verified),
        ]


def threats(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Those that any run was evaluated under, those of most runs first."""
    met = [threat for run in records for threat in {one.threat: None for one in run.evaluations}]
    return tuple(sorted(dict.fromkeys(met), key=lambda threat: -met.count(threat)))


def comparisons(records: Sequence[RunRecord]) -> tuple[Comparison, ...]:
    """A table a threat, or one without attacks; columns that would be empty are left out."""
    return tuple(_comparison(records, threat) for threat in threats(records) or ("",))


def verdict_under(run: RunRecord, threat: str) -> VerdictRecord | None:
    """The run's verdict on a claim under a threat."""
    return next((one for one in run.verdicts if stated(one.claim)[0] == threat), None)


def percent(share: float) -> str:
    """``12.3``; a dash for not-a-number."""
    return NONE if math.isnan(share) else f"{100 * share:.1f}"


def bounds(interval: tuple[float, float]) -> str:
    """``[12.3, 45.6]``; empty for not-a-number."""
    return "" if math.isnan(interval[0]) else f"[{percent(interval[0])}, {percent(interval[1])}]"


def published(records: Sequence[RunRecord]) -> Table:
    """Figures that papers give, and what was measured of the same kind."""
    heads = (
        *("model", "figure", "threat", "attack", "published [%]", "measured [%]"),
        *("difference [points]", "source"),
    )
    rows = []
    for run in records:
        for one in objects(run.recipe, "published"):
            measured = _measured(run, one)
            stated = number(one, "percent")
            rows.append(
                (
                    run.name,
                    text(one, "metric"),
                    text(one, "threat") or None,
                    text(one, "attack") or None,
                    stated,
                    None if math.isnan(measured) else round(100 * measured, 2),
                    None if math.isnan(measured) else round(100 * measured - stated, 2),
                    text(one, "source"),
                )
            )
    return Table.of("published", heads, rows)


def seeds(records: Sequence[RunRecord]) -> Table:
    """Methods of several seeds: mean, least and most of clean and worst-case accuracy under each threat."""
    heads = ("method", "threat", "seeds", "figure", "mean [%]", "least [%]", "most [%]")
    rows: list[tuple[Any, ...]] = []
    for method, runs in by_method(records).items():
        for threat in threats(runs):
            # A run again of the same seed is no second sample.
            seeded = {run.path if run.seed is None else run.seed: run for run in reversed(runs)}
            shown = [first_of(run.evaluations, threat) for run in reversed(seeded.values())]
            found = [one for one in shown if one is not None]
            for name in ("clean_accuracy", "robust_accuracy"):
                values = np.array([getattr(one, name) for one in found])
                known = values[~np.isnan(values)]
                if len(known) > 1:
                    figures = [round(100 * float(one), 1) for one in (known.mean(), known.min(), known.max())]
                    rows.append((method, threat, len(known), name.replace("_", " "), *figures))
    return Table.of("seeds", heads, rows)


def by_method(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Label to runs, in the order met."""
    found: dict[str, list[RunRecord]] = {}
    for run in records:
        found.setdefault(run.method, []).append(run)
    return found


def _comparison(records: Sequence[RunRecord], threat: str) -> Comparison:
    found = [(run, first_of(run.evaluations, threat)) for run in records]
    rows = [(run, evaluation, _cells(run, threat, evaluation)) for run, evaluation in found]
    kept = [
        at
        for at, head in enumerate(HEADS)
        if head.name in ("Model", "Clean") or any(cells[at].shown != NONE for *_, cells in rows)
    ]
    return Comparison(
        threat,
        tuple(HEADS[at] for at in kept),
        tuple(Row(run, evaluation, tuple(cells[at] for at in kept)) for run, evaluation, cells in rows),
    )


def _cells(run: RunRecord, threat: str, found: EvaluationRecord | None) -> list[Value]:
    verdict = verdict_under(run, threat)
    passes, seconds = number(run.summary, "passes"), number(run.summary, "seconds")
    if math.isnan(passes) and run.epochs:
        passes, seconds = number(run.epochs[-1], "passes"), number(run.epochs[-1], "seconds")
    return [
        Value(run.name, run.name),
        _verdict(verdict),
        _clean(run, threat, found),
        *(_attack(run, threat, found, kind) for kind in KINDS),
        _as_released(found),
        _worst(found),
        Value(NONE) if found is None else Value(str(found.images), found.images),
        Value(NONE) if math.isnan(passes) else Value(f"{passes / 1e6:.3g}", passes),
        Value(NONE) if math.isnan(seconds) else Value(f"{seconds:.0f}", seconds),
        _verified(found),
    ]


def _verdict(verdict: VerdictRecord | None) -> Value:
    if verdict is None or verdict.label not in VERDICTS:
        return Value(NONE)
    mark = VERDICTS[verdict.label]
    which = "" if verdict.checkpoint == "last" else f" (checkpoint {verdict.checkpoint})"
    return Value(f"{mark.symbol} {mark.words}{which}", verdict.label, title=verdict.reason)


def _clean(run: RunRecord, threat: str, found: EvaluationRecord | None) -> Value:
    paper = _papers(run, "clean", threat, ())
    if found is not None:
        return Value(percent(found.clean_accuracy), _known(found.clean_accuracy), paper)
    tested = number(run.summary, "test_accuracy")
    return Value(percent(tested), _known(tested), paper, "on all test images, when training ended")


def _attack(run: RunRecord, threat: str, found: EvaluationRecord | None, kind: str) -> Value:
    paper = _papers(run, "robust", threat, KINDS[kind])
    ran = [] if found is None else [one for one in found.attacks if _kind(one.name) in KINDS[kind]]
    if not ran:
        return Value(NONE, None, paper)
    alone = [one for one in ran if not math.isnan(one.accuracy)]
    if not alone:
        broken, attacked = sum(one.broken for one in ran), max(one.attacked for one in ran)
        return Value(
            f"\N{MINUS SIGN}{broken:.0f}",
            None,
            paper,
            f"broke {broken:.0f} of {attacked:.0f} that still stood",
        )
    strongest = min(alone, key=lambda one: one.accuracy)
    return Value(percent(strongest.accuracy), strongest.accuracy, paper, _doubts(strongest))


def _doubts(attack: AttackFigures) -> str:
    return "; ".join([attack.name, *attack.flags, *(["it crashed somewhere"] if attack.failed else [])])


def _as_released(found: EvaluationRecord | None) -> Value:
    claims = () if found is None else found.as_released
    accuracy = number(claims[0], "accuracy") if claims else math.nan
    return Value(percent(accuracy), _known(accuracy), title=text(claims[0], "threat") if claims else "")


def _worst(found: EvaluationRecord | None) -> Value:
    if found is None:
        return Value(NONE)
    doubt = "incomplete: an attack crashed, so this is an upper bound" if found.incomplete else ""
    shown = ("≤ " if found.incomplete else "") + percent(found.robust_accuracy)
    return Value(shown, _known(found.robust_accuracy), bounds(found.interval), doubt)


def _verified(found: EvaluationRecord | None) -> Value:
    if found is None:
        return Value(NONE)
    shown = {True: "yes", False: "FAILED", None: "not yet"}[found.verified]
    return Value(shown, shown, title="reinforced verify checks every example again")


def _papers(run: RunRecord, metric: str, threat: str, kinds: Sequence[str]) -> str:
    """What papers give for this cell: the same metric, threat and kind of attack."""
    stated = [
        f"paper {number(one, 'percent'):g}"
        for one in objects(run.recipe, "published")
        if text(one, "metric") == metric
        and (metric == "clean" or (text(one, "threat") == threat and text(one, "attack") in kinds))
    ]
    return ", ".join(stated)


def _measured(run: RunRecord, one: Mapping[str, Any]) -> float:
    metric, threat, attack = (text(one, name) for name in ("metric", "threat", "attack"))
    if metric == "clean":
        shown = max(run.evaluations, key=precedence, default=None)
        return number(run.summary, "test_accuracy") if shown is None else shown.clean_accuracy
    found = first_of(run.evaluations, threat)
    alone = [each.accuracy for each in found.attacks if _kind(each.name) == attack] if found else []
    return min((share for share in alone if not math.isnan(share)), default=math.nan)


def _kind(attack: str) -> str:
    return attack.partition("(")[0]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _share(key: float | str | None) -> float | None:
    return key if isinstance(key, float) else None


def all_tables(records: Sequence[RunRecord]) -> Iterator[Table]:
    """Every table that is not a figure's, for files; threats one below the other."""
    parts = [one.table() for one in comparisons(records)]
    yield Table(parts[0].kind, parts[0].heads, tuple(row for part in parts for row in part.rows))
    for table in (published(records), seeds(records)):
        if table.rows:
            yield table
