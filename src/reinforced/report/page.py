"""The page: everything a reader sees, in one HTML file that asks the network for nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from reinforced.report import palette
from reinforced.report.evaluations import EvaluationRecord
from reinforced.report.figure import Figure, plain, short
from reinforced.report.images import explorer
from reinforced.report.palette import VERDICTS
from reinforced.report.plotly import to_plotly
from reinforced.report.reading import text
from reinforced.report.records import RunRecord, data_source
from reinforced.report.reproduce import citation, commands, report_command
from reinforced.report.tables import by_method, comparisons, percent, published, seeds, verdict_under

ROWS = 300
"""The longest table of a figure that the page holds; longer ones are in the files."""


def render(
    records: Sequence[RunRecord], figures: Sequence[Figure], missing: Sequence[str], html: Path
) -> str:
    """The page's text.

    Args:
        records: the runs, in the order shown.
        figures: already drawn.
        missing: what could have been drawn of other records, a line each.
        html: where the page goes, for its own command.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("reinforced.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters.update(short=short, plain=plain, percent=percent, number=_number)
    templates.filters.update(token=palette.token, marker=palette.marker)
    images = explorer(records)
    return templates.get_template("page.html").render(
        title=_title(records),
        version=metadata.version("reinforced"),
        records=records,
        methods={method: runs[0].slot for method, runs in by_method(records).items()},
        verdicts=VERDICTS,
        verdict_under=verdict_under,
        comparisons=comparisons(records),
        published=published(records),
        seeds=seeds(records),
        figures=figures,
        rows=ROWS,
        images=images,
        untested=_untested(records, figures, missing),
        provenance=[_provenance(run) for run in records],
        commands=[(run.name, list(commands(run))) for run in records],
        report_command=report_command([run.path for run in records], html),
        citation=citation(records),
        sources=_sources(records),
        palette=Markup(palette.css()),
        style=_own("style.css"),
        script=_own("page.js") + _own("images.js"),
        plotly=_plotly(),
        data=script_json({"figures": {one.key: to_plotly(one) for one in figures}, "images": images}),
    )


def script_json(values: Any) -> Markup:
    """JSON that nothing in it can lead out of its script element; not-a-number becomes null."""
    written = json.dumps(_finite(values), allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        written = written.replace(char, f"\\u{ord(char):04x}")
    return Markup(written)


def _finite(values: Any) -> Any:
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, dict):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return values


def _own(name: str) -> Markup:
    return Markup(resources.files("reinforced.report").joinpath("templates", name).read_text("utf-8"))


def _plotly() -> Markup:
    bundle = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return Markup(bundle.replace("</script", "<\\/script"))


def _title(records: Sequence[RunRecord]) -> str:
    data = list(dict.fromkeys(filter(None, (data_source(run) for run in records))))
    models = "1 model" if len(records) == 1 else f"{len(records)} models"
    return f"{models} on {', '.join(short(name) for name in data)}" if data else models


def _untested(
    records: Sequence[RunRecord], figures: Sequence[Figure], missing: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """What a reader must not take for shown: of each model, of the figures, of the files."""
    of_models: dict[str, list[str]] = {}
    for run in records:
        for verdict in run.verdicts[:1]:
            for line in verdict.not_tested:
                of_models.setdefault(line, []).append(run.name)
        if not run.verdicts:
            of_models.setdefault("any claim: not judged", []).append(run.name)
        if not run.evaluations:
            of_models.setdefault("any attack: not evaluated", []).append(run.name)
        for threat in dict.fromkeys(one.threat for one in run.evaluations if one.verified is None):
            of_models.setdefault(f"the examples under {threat} again", []).append(run.name)
    everyone = len(records)
    said = [
        line if len(names) == everyone else f"{line} ({', '.join(short(name) for name in names)})"
        for line, names in of_models.items()
    ]
    drawn = [*(f"{one.title}: {line}" for one in figures for line in one.missing), *missing]
    gaps = [f"{run.name}: {gap}" for run in records for gap in run.gaps]
    parts = [("Not tested", said), ("Not measured", drawn), ("Missing or damaged records", gaps)]
    return [(head, lines) for head, lines in parts if lines]


def _provenance(run: RunRecord) -> dict[str, Any]:
    packages = run.environment.get("packages")
    machine = {key: value for key, value in run.environment.items() if not isinstance(value, (dict, list))}
    evaluated = [_hashes(one) for one in run.evaluations]
    return {
        "run": run,
        "recipe": yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True) if run.recipe else "",
        "machine": machine,
        "packages": packages if isinstance(packages, dict) else {},
        "evaluations": evaluated,
        "judged": [
            {"folder": verdict.folder.name, "claim": verdict.claim, "budget": verdict.budget}
            for verdict in run.verdicts
        ],
    }


def _hashes(one: EvaluationRecord) -> dict[str, str]:
    names = ("model_sha256", "data_sha256", "sha256", "seed", "chunk", "draws", "reinforced")
    found = {name: str(one.setup[name]) for name in names if name in one.setup}
    return {"threat": one.threat, "folder": one.folder.name, "checkpoint": one.checkpoint, **found}


def _sources(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """What each recipe says that it follows."""
    said = {text(run.recipe, "name"): text(run.recipe, "source") for run in records}
    return [(name, source) for name, source in said.items() if source]


def _number(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "-" if value is None else ("yes" if value else "no")
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)
