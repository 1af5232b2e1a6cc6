"""The commands that give what a report shows, as they are typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from reinforced.report.figure import plain
from reinforced.report.reading import mapping, number, text, texts
from reinforced.report.records import RunRecord

_LENT = re.compile(r"transfer\(via=.*?,from=(?P<model>.+)\)$", re.DOTALL)
"""What transferred examples are called; no attack of this name can be asked for, only its surrogate."""


def commands(run: RunRecord) -> Iterator[str]:
    """Train a run again elsewhere, attack it, check the examples, judge it, look into it."""
    path = str(run.path)
    if run.recipe:
        yield _line("train", str(run.path / "recipe.yaml"), "--run", f"{path}-again")
    for one in run.evaluations:
        names = texts(one.setup, "attacks")
        attacks = [*(name for name in names if not _LENT.match(name)), *texts(one.setup, "as_released")]
        lent = dict.fromkeys(found["model"] for name in names if (found := _LENT.match(name)))
        yield _line(
            *("evaluate", path, "--threat", one.threat, "--attacks", *attacks, "--images", str(one.images)),
            *_given(
                skip=one.skip, source=one.data, checkpoint=one.checkpoint, seed=number(one.setup, "seed")
            ),
            *(["--surrogates", *lent] if lent else []),
            *(["--all"] if one.setup.get("run_all") else []),
            *("--chunk", f"{number(one.setup, 'chunk'):.0f}"),
        )
        yield _line("verify", str(one.folder))
    for curve in {(one.threat, one.over): one for one in run.curves}.values():
        yield _line(
            *("evaluate", path, "--threat", curve.threat, "--attacks", "fgsm", "--images", str(curve.images)),
            *("--curve", curve.over),
        )
    for verdict in run.verdicts:
        yield _line(
            *("diagnose", path, "--claim", verdict.claim, "--budget", verdict.budget),
            *("--images", f"{verdict.images:.0f}", *_given(checkpoint=verdict.checkpoint)),
        )
    for measured in run.indicators:
        images, each = (f"{number(measured.setup, name):.0f}" for name in ("images", "steps"))
        at = ["--threat", measured.threat, "--images", images, "--steps", each]
        yield _line("indicators", path, *at, *_given(seed=number(measured.setup, "seed")))
    for drawn in run.landscapes:
        more = [f"--{name}" for name in ("adaptive", "clip") if drawn.record.get(name)]
        steps = number(mapping(drawn.record, "attack"), "steps")
        at = ["--image", str(drawn.image), "--threat", drawn.threat, "--loss", drawn.loss_name]
        span = f"{drawn.axis[-1]:g}"
        size = ["--size", str(len(drawn.axis)), "--span", span, "--steps", f"{steps:.0f}"]
        yield _line("landscape", path, *at, *size, *more, *_given(seed=number(drawn.record, "seed")))


def _given(**options: float | str) -> list[str]:
    """Those that are not the default."""
    said = {name: value if isinstance(value, str) else f"{value:.0f}" for name, value in options.items()}
    return [
        word
        for name, value in said.items()
        if value not in ("", "0", "nan", "last")
        for word in (f"--{name}", value)
    ]


def report_command(paths: Sequence[Path], html: Path) -> str:
    """What wrote the report."""
    return _line("report", *map(str, paths), "-o", str(html))


def citation(records: Sequence[RunRecord]) -> str:
    """BibTeX of the software at the versions and commits that trained the runs."""
    versions = sorted({text(run.environment, "reinforced") for run in records} - {""})
    commits = sorted({text(run.environment, "commit")[:12] for run in records} - {""})
    lines = [
        "title = {reinforced: image classifiers trained by reinforcement learning,"
        " and a judge of their robustness}",
        *([f"version = {{{', '.join(versions)}}}"] if versions else []),
        *([f"note = {{commit {', '.join(commits)}}}"] if commits else []),
    ]
    return "@software{reinforced,\n  " + ",\n  ".join(map(plain, lines)) + "\n}"


def _line(*words: str) -> str:
    return " ".join(["reinforced", *(shlex.quote(plain(word)) for word in words)])
