"""Checkpoints and methods on the same test images under the same attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reinforced.attacks.intervals import clopper_pearson
from reinforced.diagnostics.statistics import holm
from reinforced.studies.outcomes import Outcome, Terms, epoch_of
from reinforced.studies.points import Difference, Point, differences, drop, point
from reinforced.studies.statistics import mcnemar
from reinforced.studies.trained import Trained

Found = Mapping[Trained, Sequence[Outcome]]
FIGURES = ("robust", "clean")


@dataclass(frozen=True)
class Share:
    """Images of all tested, with the 95 % Clopper-Pearson interval of their share."""

    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's figures on the test images.

    Attributes:
        clean: right before any attack.
        robust: right under every attack, the per-image worst case.
        autoattack: left by AutoAttack's own cascade, where it ran.
        doubts: what the evaluation says against its own figure.
    """

    method: str
    run: str
    seed: int
    epoch: int
    folder: str
    clean: Share
    robust: Share
    autoattack: Share | None
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """McNemar's exact test of two checkpoints; it says nothing about other seeds.

    Attributes:
        figure: ``robust`` or ``clean``.
        only_first, only_second: images that one has right and the other wrong.
        p: two-sided.
        holm: adjusted over all pairs in this figure; ``None`` with one pair.
    """

    figure: str
    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    holm: float | None


@dataclass(frozen=True)
class OutcomeComparison:
    """All that was tested on the same terms.

    Attributes:
        checkpoint: what is compared of each run: ``last``, ``best`` or an epoch.
        checkpoints: every checkpoint evaluated on these terms.
        methods: label to the method's points over its seeds.
        pairs: of the compared checkpoints of different methods; within a method where there is but one.
        differences: of the methods, over the seeds of the compared checkpoints.
        missing: runs without this evaluation of the compared checkpoint.
    """

    terms: Terms
    images: int
    checkpoint: str
    checkpoints: tuple[Checkpoint, ...]
    methods: dict[str, tuple[Point, ...]]
    pairs: tuple[Pair, ...]
    differences: tuple[Difference, ...]
    missing: tuple[str, ...]


def choose_terms(found: Found, threat: str, checkpoint: str) -> Terms | None:
    """The terms under a threat that most runs share, then those with more images, then with more attacks.

    ``None`` where no two runs share any for the compared checkpoint.
    """
    runs: dict[Terms, list[Trained]] = {}
    images: dict[Terms, int] = {}
    for run, evaluations in found.items():
        for tested in evaluations:
            if tested.terms.threat == threat and tested.epoch == epoch_of(run, checkpoint):
                shared = runs.setdefault(tested.terms, [])
                shared.extend([] if run in shared else [run])
                images[tested.terms] = len(tested.robust)
    chosen = max(runs, key=lambda terms: (len(runs[terms]), images[terms], len(terms.attacks)), default=None)
    return chosen if chosen is not None and len(runs[chosen]) > 1 else None


def compare_outcomes(
    methods: Mapping[str, Sequence[Trained]],
    found: Found,
    terms: Terms,
    checkpoint: str,
    points: Mapping[str, Mapping[Trained, int | None]],
) -> OutcomeComparison:
    """Compare on the same terms; ``points`` says which epoch of a run each point is."""
    at = {run: {one.epoch: one for one in several if one.terms == terms} for run, several in found.items()}
    compared = {
        label: [_of(at[run], epoch_of(run, checkpoint)) for run in members]
        for label, members in methods.items()
    }
    contrasts = [
        difference
        for figure in FIGURES
        for difference in differences(
            figure,
            checkpoint,
            {label: [_figures(one)[figure] for one in column] for label, column in compared.items()},
        )
    ]
    return OutcomeComparison(
        terms,
        next(len(one.robust) for column in compared.values() for one in column if one is not None),
        checkpoint,
        tuple(
            _checkpoint(label, run, at[run][epoch])
            for label, members in methods.items()
            for run in members
            for epoch in sorted(at[run])
        ),
        {label: _points(members, at, points) for label, members in methods.items()},
        tuple(pair for figure in FIGURES for pair in _pairs(figure, methods, compared)),
        tuple(contrasts),
        tuple(
            run.name
            for label, members in methods.items()
            for run, one in zip(members, compared[label], strict=True)
            if one is None
        ),
    )


def _of(outcomes: Mapping[int, Outcome], epoch: int | None) -> Outcome | None:
    return None if epoch is None else outcomes.get(epoch)


def _figures(outcome: Outcome | None) -> dict[str, float | None]:
    if outcome is None:
        return {"clean": None, "robust": None, "autoattack": None}
    return {
        "clean": float(outcome.clean.mean()),
        "robust": float(outcome.robust.mean()),
        "autoattack": outcome.autoattack,
    }


def _points(
    members: Sequence[Trained],
    at: Mapping[Trained, Mapping[int, Outcome]],
    points: Mapping[str, Mapping[Trained, int | None]],
) -> tuple[Point, ...]:
    found = {
        name: point(
            name,
            [epochs[run] for run in members],
            [_figures(_of(at[run], epochs[run])) for run in members],
        )
        for name, epochs in points.items()
    }
    lost = drop(found["best epoch"], found["last epoch"], ("clean", "robust", "autoattack"))
    return (*found.values(), lost)


def _checkpoint(method: str, run: Trained, outcome: Outcome) -> Checkpoint:
    own = outcome.autoattack
    n = len(outcome.robust)
    return Checkpoint(
        method,
        run.name,
        run.recipe.seed,
        outcome.epoch,
        str(outcome.folder),
        _share(int(outcome.clean.sum()), n),
        _share(int(outcome.robust.sum()), n),
        None if own is None else _share(round(own * n), n),
        outcome.doubts,
    )


def _share(count: int, n: int) -> Share:
    return Share(count, count / n, *clopper_pearson(count, n))


def _pairs(
    figure: str, methods: Mapping[str, Sequence[Trained]], compared: Mapping[str, Sequence[Outcome | None]]
) -> list[Pair]:
    known = [
        (label, run.name, one.robust if figure == "robust" else one.clean)
        for label, members in methods.items()
        for run, one in zip(members, compared[label], strict=True)
        if one is not None
    ]
    # Seeds of one method differ by chance alone; testing them would only cost the other pairs power.
    between = len({label for label, _, _ in known}) > 1
    pairs = [(one, other) for one, other in combinations(known, 2) if not between or one[0] != other[0]]
    counts = [(int((a & ~b).sum()), int((b & ~a).sum())) for (_, _, a), (_, _, b) in pairs]
    ps = [mcnemar(*count) for count in counts]
    adjusted = holm(ps) if len(ps) > 1 else [None] * len(ps)
    return [
        Pair(figure, one, other, *count, p, corrected)
        for ((_, one, _), (_, other, _)), count, p, corrected in zip(pairs, counts, ps, adjusted, strict=True)
    ]
