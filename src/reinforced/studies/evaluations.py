"""Evaluations as the command line asks for them: over models and threats, with their folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Attack
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import BUDGETS, ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.evaluation.answers import answers
from reinforced.evaluation.curves import Point, over_epsilon, over_steps, transfer_matrix
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.gallery import gallery
from reinforced.evaluation.identity import model_sha256
from reinforced.evaluation.job import folder_name
from reinforced.evaluation.records import Evaluation, read_evaluation
from reinforced.evaluation.verify import Verification, verify
from reinforced.files import write_json
from reinforced.studies.subjects import Source, Subject, load_subject

CRAFT = MIFGSM(loss="gap")
"""Crafts on surrogates: the gradient of float32 cross-entropy is lost on confident ones."""


@dataclass(frozen=True)
class Plan:
    """What to run on each subject; see :func:`~reinforced.evaluation.evaluate.evaluate`."""

    attacks: tuple[str, ...]
    surrogates: dict[str, nn.Module]
    control: nn.Module | None
    seed: int
    run_all: bool
    shard: tuple[int, int]
    chunk: int | None = None


def threats(names: Sequence[str]) -> list[ThreatModel]:
    """Threats by budget name (``standard``) or form (``linf:8/255``)."""
    return [threat for name in names for threat in (BUDGETS.get(name) or (ThreatModel.parse(name),))]


def evaluate_subject(
    subject: Subject, threat: ThreatModel, plan: Plan, told: Callable[[str, int, int], None]
) -> tuple[Path, Evaluation | None]:
    """Run a plan; the folder's name holds threat, attacks, images, seed and checkpoint."""
    transfers: list[Attack] = [
        Transfer({name: model}, CRAFT)
        for name, model in plan.surrogates.items()
        if not _same(model, subject, threat)
    ]
    names = "+".join(plan.attacks)
    label = names if len(names) <= 40 and "(" not in names else hashlib.sha256(names.encode()).hexdigest()[:8]
    parts = [folder_name(label), str(len(subject.labels)), *(["all"] if plan.run_all else [])]
    parts += ["transfer"] if transfers else []
    parts += subject.variant(plan.seed)
    folder = subject.folder / folder_name(str(threat)) / "-".join(parts)
    found = evaluate(
        subject.model,
        subject.images,
        subject.labels,
        threat,
        attacks=plan.attacks if len(plan.attacks) > 1 else plan.attacks[0],
        transfers=transfers,
        seed=plan.seed,
        run_all=plan.run_all,
        chunk=plan.chunk,
        control=plan.control,
        out=folder,
        shard=plan.shard,
        told=told,
    )
    return folder, found


def _same(model: nn.Module, subject: Subject, threat: ThreatModel) -> bool:
    """Whether a surrogate is the subject itself; with the same weights, but a defence less, it is not."""
    return model_sha256(model) == model_sha256(subject.model) and torch.equal(
        answers(model, subject.images, threat), answers(subject.model, subject.images, threat)
    )


def remember_subject(folder: Path, named: str, source: Source, classes: Sequence[str]) -> None:
    """Write down how to load the subject again, for ``verify``, and what its classes are called."""
    values = {
        "named": str(Path(named).resolve()) if Path(named).is_dir() else named,
        "data": source.data,
        "size": source.size,
        "weights": str(source.weights.resolve()) if source.weights else None,
        "normalize": source.normalize,
        "checkpoint": source.checkpoint,
        "images": source.images,
        "skip": source.skip,
        "root": str(source.root.resolve()) if source.root else None,
        "classes": list(classes),
    }
    write_json(folder / "subject.json", values)


def verify_folder(folder: Path, device: torch.device) -> Verification:
    """Load an evaluation's subject again and check its examples; writes ``verification.json``.

    It holds the hash of the outcomes that were checked: it is void once the evaluation has others.
    """
    record = read_evaluation(folder)
    file = folder / "subject.json"
    if not file.is_file():
        raise ReinforcedError(
            f"{folder} does not say which model it is of (evaluated from Python?); call "
            "reinforced.evaluation.verify.verify with the model and its images"
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values.pop("classes", None)
        named, home = values.pop("named"), (folder.resolve() / "../../..").resolve()
        for key in ("weights", "root"):
            values[key] = Path(values[key]) if values[key] else None
        source = Source(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReinforcedError(f"{file}: damaged; evaluate again to write it again") from None
    if (home / "recipe.yaml").is_file():
        named = str(home)  # RUN/evaluations/THREAT/NAME: the run may have been moved since
    subject = load_subject(named, source, device, folder)
    found = verify(folder, subject.model, subject.images, subject.labels)
    write_json(
        folder / "verification.json",
        {
            "holds": found.holds,
            "matrix_sha256": record.get("matrix_sha256"),
            "examples": found.examples,
            "survive_8bit": found.survive_8bit,
            "failures": list(found.failures[:100]),
            "as_released": [asdict(check) for check in found.as_released],
        },
    )
    return found


def write_gallery(folder: Path, subject: Subject, wanted: int) -> Path | None:
    """A picture of the first ``wanted`` images that any attack broke; ``None`` where none did."""
    record = read_evaluation(folder)
    chosen: dict[int, torch.Tensor] = {}
    size = record["setup"]["chunk"]
    for attack in record["attacks"]:
        for part in sorted((folder / folder_name(attack["name"])).glob("chunk-*.npz")):
            number = int(part.stem.removeprefix("chunk-"))
            with part.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                broken = stored["attacked"] & ~stored["robust"]
                images = stored["adversarial"][broken[stored["attacked"]]]
                rows = np.flatnonzero(broken) + number * size
            for row, image in zip(rows.tolist(), images, strict=True):
                chosen.setdefault(row, torch.from_numpy(image))
    rows_shown = sorted(chosen)[:wanted]
    if not rows_shown:
        return None
    path = folder / "gallery.png"
    gallery(
        path,
        subject.model,
        subject.images[rows_shown],
        torch.stack([chosen[row] for row in rows_shown]),
        subject.labels[rows_shown],
        subject.classes,
    )
    return path


_CURVES = ("epsilon", "steps", "models")


def check_curve(what: str) -> None:
    """Refuse an unknown kind of curve.

    Raises:
        ReinforcedError: it is.
    """
    if what not in _CURVES:
        raise ReinforcedError(f"no curve over {what!r}{did_you_mean(what, _CURVES)}")


def draw_curves(
    what: str, subjects: Sequence[Subject], threat: ThreatModel, seed: int, chunk: int | None = None
) -> list[tuple[str, list[list[str]]]]:
    """Tables (title, rows with a header first) of robust accuracy over epsilon, steps, or models.

    Raises:
        ReinforcedError: two runs have one name.
    """
    if what == "models":
        models = {subject.name: subject.model for subject in subjects}
        if len(models) < len(subjects):
            alike = next(
                one.name for one in subjects if sum(one.name == other.name for other in subjects) > 1
            )
            raise ReinforcedError(f"--curve models: two runs are called {alike}; rename a folder")
        first = subjects[0]
        cells = transfer_matrix(models, first.images, first.labels, threat, CRAFT, seed=seed, chunk=chunk)
        rows = [["made on, tested on", *models]]
        rows += [[made, *(_cell(cells[made][tested]) for tested in models)] for made in models]
        _keep(_place(first, threat, seed) / "transfer.json", cells)
        return [(f"transfer under {threat}: accuracy left, {CRAFT.name}", rows)]
    curves = {"epsilon": _epsilon_curve, "steps": over_steps}
    tables = []
    for subject in subjects:
        points = curves[what](subject.model, subject.images, subject.labels, threat, seed=seed, chunk=chunk)
        _keep(_place(subject, threat, seed) / f"over-{what}.json", points)
        rows = [[what, "robust accuracy", "passes"]]
        rows += [[f"{point.at:.4g}", _cell(point), f"{point.passes:,}"] for point in points]
        tables.append((f"{subject.name} under {threat}, PGD over {what}", rows))
    return tables


def _place(subject: Subject, threat: ThreatModel, seed: int) -> Path:
    """Of curves: where a report takes them for the run's, or below."""
    return subject.folder / folder_name(str(threat)) / "-".join(subject.variant(seed))


def _epsilon_curve(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int, chunk: int | None
) -> list[Point]:
    return over_epsilon(model, images, labels, threat, PGD(steps=50, loss="margin"), seed=seed, chunk=chunk)


def _cell(point: Point) -> str:
    low, high = point.interval
    return f"{point.robust_accuracy:.1%} [{low:.1%}, {high:.1%}]"


def _keep(path: Path, value: object) -> None:
    def plain(value: object) -> object:
        if isinstance(value, Point):
            return asdict(value)
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    write_json(path, plain(value))
