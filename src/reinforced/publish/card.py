"""The model card: front matter in the Hub's format, and what a person needs to know, from records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reinforced.data.sources.hub import HUB
from reinforced.publish.entries import Entry
from reinforced.publish.markdown import code, plain, table
from reinforced.publish.onnx_file import BATCHES
from reinforced.report.reading import number, text
from reinforced.report.records import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HEADER = ("images", "threat", "clean", "AutoAttack", "worst case", "95 % interval", "re-verified", "notes")


def card(
    run: RunRecord, config: Mapping[str, Any], reported: Sequence[Entry], onnx_difference: float | None
) -> str:
    """The card of a run's weights.

    Args:
        run: whose weights they are.
        config: what the exported folder says of the model.
        reported: evaluations of these very weights.
        onnx_difference: the largest difference of a logit of the ONNX file; ``None`` without one.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    page = Environment(
        loader=PackageLoader("reinforced.publish"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: `plain` and `code` are its escapes
    )
    page.filters |= {"plain": plain, "code": code}
    verdicts = list({id(verdict): verdict for entry in reported for verdict in entry.verdicts}.values())
    body = page.get_template("card.md").render(
        run=run,
        config=config,
        figures=table(HEADER, map(_cells, reported)),
        attacks=list(dict.fromkeys(attack.name for entry in reported for attack in entry.evaluation.attacks)),
        released=[claim for entry in reported for claim in entry.evaluation.as_released],
        verdicts=verdicts,
        not_tested=list(dict.fromkeys(line for verdict in verdicts for line in verdict.not_tested)),
        onnx_difference=onnx_difference,
        onnx_batches=BATCHES,
        percent=_percent,
        cost=_cost(run),
        command=f"reinforced evaluate {config['network']} --weights FOLDER/model.safetensors --normalize "
        f"{config['normalize']} --source DATA",
    )
    return f"---\n{_front_matter(run, config, reported, onnx_difference is not None)}\n---\n\n{body}"


def _front_matter(run: RunRecord, config: Mapping[str, Any], reported: Sequence[Entry], onnx: bool) -> str:
    from huggingface_hub import ModelCardData  # noqa: PLC0415 - slow to import

    source = HUB.get(config["data"])
    return ModelCardData(
        model_name=run.name,
        eval_results=_results(reported) or None,
        datasets=[source.repository] if source else None,
        library_name="reinforced",
        pipeline_tag="image-classification",
        tags=["adversarial-robustness", "safetensors", *(["onnx"] if onnx else [])],
    ).to_yaml()


def _results(reported: Sequence[Entry]) -> list[EvalResult]:
    """Figures as shares; of evaluations with doubts or of other than the first test images none.

    An index has no place to say them.
    """
    from huggingface_hub import EvalResult  # noqa: PLC0415

    least: dict[tuple[str, str, str], float] = {}
    for entry in reported:
        found = entry.evaluation
        under = f"{found.threat}, {found.images} images"
        figures = {
            f"clean accuracy, {found.images} images": found.clean_accuracy,
            f"accuracy under AutoAttack, {under}": found.autoattack_accuracy,
            f"robust accuracy, worst case, {under}": found.robust_accuracy,
        }
        for name, value in figures.items() if not (entry.doubts or found.skip) else ():
            # Each is an upper bound: of several evaluations on the same images the least is known to hold.
            if math.isfinite(value):
                key = (entry.data, entry.images, name)
                least[key] = min(value, least.get(key, math.inf))
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=HUB[data].repository if data in HUB else data,
            dataset_name=data,
            dataset_split="test",
            metric_type="accuracy",
            metric_name=name,
            metric_value=value,
        )
        for (data, _, name), value in least.items()
    ]


def _cost(run: RunRecord) -> str:
    """What training took; empty where it was not recorded."""
    epochs, passes, seconds = (number(run.summary, name) for name in ("epochs", "passes", "seconds"))
    if not math.isfinite(epochs + passes + seconds):
        return ""
    where = run.environment.get("gpu") or text(run.environment, "processor", "an unknown device")
    return (
        f"{epochs:.0f} epochs, {passes:,.0f} passes (forward 1, full backward 2), {seconds:,.0f} s on {where}"
    )


def _cells(entry: Entry) -> tuple[object, ...]:
    found = entry.evaluation
    shares = (found.clean_accuracy, found.autoattack_accuracy, found.robust_accuracy)
    return (
        f"{found.images} of {entry.data}",
        found.threat,
        *map(_percent, shares),
        f"[{_percent(found.interval[0])}, {_percent(found.interval[1])}]",
        entry.verification,
        "; ".join(entry.doubts),
    )


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None and math.isfinite(share) else "-"
