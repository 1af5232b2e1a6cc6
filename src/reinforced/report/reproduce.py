"""The commands that give what a report shows, as they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from reinforced.report.figure import plain
from reinforced.report.reading import number, text, texts
from reinforced.report.records import RunRecord


def commands(run: RunRecord) -> Iterator[str]:
    """Train a run again elsewhere, attack it, check the examples, judge it, look into it."""
    path = str(run.path)
    if run.recipe:
        yield _line("train", str(run.path / "recipe.yaml"), "--run", f"{path}-again")
    for one in run.evaluations:
        attacks = [*texts(one.setup, "attacks"), *texts(one.setup, "as_released")]
        models = ["--checkpoint", one.checkpoint] if one.checkpoint != "last" else []
        past = ["--skip", str(one.skip)] if one.skip else []
        seed = number(one.setup, "seed")
        yield _line(
            *("evaluate", path, "--threat", one.threat, "--attacks", *attacks),
            *("--images", str(one.images), *past, "--seed", f"{seed:.0f}", *models),
            *(["--all"] if one.setup.get("run_all") else []),
            *("--chunk", f"{number(one.setup, 'chunk'):.0f}"),
        )
        yield _line("verify", str(one.folder))
    for over in dict.fromkeys((curve.threat, curve.over) for curve in run.curves):
        yield _line("evaluate", path, "--threat", over[0], "--curve", over[1])
    for verdict in run.verdicts:
        images = f"{verdict.images:.0f}"
        yield _line(
            "diagnose", path, "--claim", verdict.claim, "--budget", verdict.budget, "--images", images
        )
    for found in run.indicators:
        images, steps = (f"{number(found.setup, name):.0f}" for name in ("images", "steps"))
        yield _line("indicators", path, "--threat", found.threat, "--images", images, "--steps", steps)
    for drawn in run.landscapes:
        size = str(len(drawn.axis))
        more = ["--adaptive"] if drawn.record.get("adaptive") else []
        at = ["--image", str(drawn.image), "--threat", drawn.threat]
        yield _line("landscape", path, *at, "--loss", drawn.loss_name, "--size", size, *more)


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
