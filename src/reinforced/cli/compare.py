"""The command that compares runs: compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reinforced.cli.common import new_table, percent, say, show
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from reinforced.attacks.threat import ThreatModel
    from reinforced.studies.compare import Comparison, Method
    from reinforced.studies.points import Difference, Point
    from reinforced.studies.statistics import Estimate
    from reinforced.studies.versus import OutcomeComparison, Pair, Share

_NAMES = {
    "validation_accuracy": "validation accuracy",
    "robust_validation_accuracy": "robust validation accuracy",
    "robust_validation": "robust validation",
}


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories; those that differ only in seed are one method.")
    ],
    threat: Annotated[
        str | None,
        typer.Option(help="Only evaluations under it: linf:8/255, l2:0.5, digits [default: all shared]."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Whose test images are compared: last, best, or a kept epoch.")
    ] = "last",
    json: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Compare runs at equal epochs, at equal compute and at their best, and test what differs."""
    from reinforced.files import write_json
    from reinforced.studies.compare import compare as compare_runs

    found = compare_runs(runs, _threat(threat), checkpoint)
    for method in found.methods:
        _print_method(method)
    if found.equal_epochs:
        say(
            f"Equal epochs: {found.equal_epochs}, the most that every run has finished. Equal compute: the "
            f"last epoch within {_amount(found.equal_passes)} passes, all that the cheapest run has spent.",
            "Each best epoch was chosen on the validation images, so the fall from it there is overstated.",
        )
    for test in found.tests:
        _print_test(test, found.methods)
    _print_differences(found)
    if not found.tests:
        named = " ".join(map(str, runs))
        say(f"No test figures: no shared evaluation; `reinforced evaluate {named} --threat ...` makes one.")
    for note in found.notes:
        say(f"note: {note}")
    if json is not None:
        write_json(json, found.to_json())
        say(f"written: {json}")


def _threat(text: str | None) -> ThreatModel | None:
    if text is None:
        return None
    from reinforced.studies.evaluations import threats

    named = threats([text])
    if len(named) > 1:
        raise ReinforcedError(f"--threat {text} stands for {', '.join(map(str, named))}; give one of them")
    return named[0]


def _print_method(method: Method) -> None:
    runs = ", ".join(run.name + (f" ({run.state})" if run.state != "finished" else "") for run in method.runs)
    say("", f"{method.label}: {_seeds(len(method.runs))}: {runs}")
    tested = [run.test_accuracy for run in method.runs if run.test_accuracy is not None]
    if tested:
        say(f"clean test accuracy after the last epoch: {', '.join(map(percent, tested))}")
    columns = ("validation", "robust validation", "train - validation", "passes", "flops", "seconds")
    table = new_table("at", "epoch", *columns)
    for point in method.points:
        title = point.at
        if point.at == "best epoch":
            title += f", by {_NAMES[method.chosen_by]}"
        table.add_row(
            title,
            _epochs(point),
            *(_share(point, figure) for figure in ("validation", "robust_validation", "gap")),
            *(_spent(point, figure) for figure in ("passes", "flops", "seconds")),
        )
    show(table)


def _print_test(test: OutcomeComparison, methods: Sequence[Method]) -> None:
    terms = test.terms
    own = any(one.autoattack is not None for one in test.checkpoints)
    say(
        "",
        f"On {test.images} test images under {terms.threat} ({', '.join(terms.attacks)}; seed {terms.seed})",
    )
    columns = ("clean", "robust", *(["autoattack"] if own else []))
    heads = ("clean", "robust, worst case", *(["AutoAttack's own"] if own else []))
    table = new_table("method", "run", "epoch", *heads)
    for one in test.checkpoints:
        cells = [_count(getattr(one, figure)) for figure in columns]
        table.add_row(one.method, one.run, str(one.epoch), *cells)
    show(table)
    for one in test.checkpoints:
        for doubt in one.doubts:
            say(f"{one.run}, epoch {one.epoch}: {doubt}")
    if test.missing:
        say(f"not evaluated so ({test.checkpoint}): {', '.join(test.missing)}")
    table = new_table("method, over seeds", "at", "epoch", *heads)
    for method in methods:
        for point in test.methods[method.label]:
            cells = [_share(point, figure) for figure in columns]
            table.add_row(method.label, point.at, _epochs(point), *cells)
    show(table)
    if any(point.figures["robust"] is None for points in test.methods.values() for point in points):
        say(
            "not measured: no evaluation of those weights on these terms; keep_every in the recipe keeps an "
            "epoch's weights, `reinforced evaluate RUN --checkpoint EPOCH` (or best) attacks them"
        )
    say(f"About these checkpoints ({test.checkpoint}): exact McNemar tests over the same images")
    _print_pairs(test.pairs)


def _print_pairs(pairs: Sequence[Pair]) -> None:
    corrected = any(pair.holm is not None for pair in pairs)
    table = new_table(
        "figure",
        "first",
        "second",
        "only first right",
        "only second right",
        "p",
        *(["Holm"] if corrected else []),
    )
    for pair in pairs:
        ps = [_p(pair.p), *([_p(pair.holm)] if pair.holm is not None else [])]
        table.add_row(pair.figure, pair.first, pair.second, str(pair.only_first), str(pair.only_second), *ps)
    show(table)


def _print_differences(found: Comparison) -> None:
    rows = [(f", {test.terms.threat}", one) for test in found.tests for one in test.differences]
    rows += [("", one) for one in found.differences]
    if not rows:
        counts = ", ".join(f"{method.label} {len(method.runs)}" for method in found.methods)
        say("", f"Nothing is said about the methods: that takes 3 seeds of each; here {counts}.")
        return
    corrected = any(one.holm is not None for _, one in rows)
    say("", "About the methods: difference of means over seeds, 95 % Welch interval, exact permutation test")
    table = new_table(
        *("figure", "at", "first", "second", "seeds", "first - second, points", "p", "smallest possible"),
        *(["Holm"] if corrected else []),
    )
    for where, one in rows:
        table.add_row(*_difference(where, one), *([_p(one.holm)] if corrected else []))
    show(table)


def _difference(where: str, one: Difference) -> list[str]:
    found = one.contrast
    spread = (
        "no spread between seeds"
        if found.low is None or found.high is None
        else f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    )
    return [
        _NAMES.get(one.figure, one.figure) + where,
        one.at,
        one.first,
        one.second,
        "{} and {}".format(*one.seeds),
        f"{100 * found.difference:+.1f} {spread}",
        _p(found.p),
        _p(found.smallest_p),
    ]


def _seeds(count: int) -> str:
    return "1 seed, no interval" if count == 1 else f"mean over {count} seeds [95 % t-interval]"


def _epochs(point: Point) -> str:
    known = sorted({epoch for epoch in point.epochs if epoch is not None})
    if not known:
        return "" if "minus" in point.at else "none"
    return str(known[0]) if len(known) == 1 else f"{known[0]}-{known[-1]}"


def _share(point: Point, figure: str) -> str:
    """A share with its interval; empty where a drop has no such figure."""
    if figure not in point.figures:
        return ""
    found = point.figures[figure]
    if found is None:
        return "not measured"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.1%}, {found.high:.1%}]"
    return f"{found.mean:.1%}{interval}{_partly(found)}"


def _spent(point: Point, figure: str) -> str:
    """What was spent, from the least to the most of any seed; empty where a drop has no such figure."""
    if figure not in point.figures:
        return ""
    found = point.figures[figure]
    if found is None:
        return "not measured"
    ends = dict.fromkeys([_amount(found.minimum), _amount(found.maximum)])
    return " - ".join(ends) + _partly(found)


def _partly(found: Estimate) -> str:
    return f" ({found.n} of {found.of} seeds)" if found.n < found.of else ""


def _count(share: Share | None) -> str:
    if share is None:
        return "not measured"
    return f"{share.share:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _amount(value: float) -> str:
    """Three digits and a prefix: ``69.1 k``, ``42.3 G``."""
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def _p(value: float | None) -> str:
    if value is None:
        return "not computed"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
