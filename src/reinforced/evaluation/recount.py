"""Whether a record's figures follow from the outcomes stored beside it.

A part of :mod:`reinforced.evaluation.verify`: it too reads with numpy, and shares no code with the writers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from reinforced.evaluation.records import read_evaluation

CONTROL_LIMIT = 0.1
"""What attacks that prove something leave of an undefended control at most."""

Array = npt.NDArray[Any]


def miscounted(folder: Path, record: dict[str, Any], clean: Array, broken: dict[str, Array]) -> list[str]:
    """Figures of the record that do not follow from the stored outcomes, whose hashes it holds."""
    digests = record["setup"]["chunk_sha256"]
    if hashlib.sha256(json.dumps(list(digests.values())).encode()).hexdigest() != record["matrix_sha256"]:
        return ["matrix_sha256 is not the hash of the outcomes"]
    said = {attack["name"]: attack["accuracy"] for attack in record["attacks"]}
    one_draw = record["setup"]["draws"] == 1
    own = [
        share
        for name, share in said.items()
        if share is not None and name.startswith("autoattack") and not (one_draw and "version=rand" in name)
    ]
    if record["autoattack_accuracy"] != min(own, default=None):
        return ["autoattack_accuracy is not what AutoAttack left"]
    times = np.sum(list(broken.values()), axis=0)
    left = {name: int((clean & ~wrong).sum()) for name, wrong in broken.items()}
    left["clean accuracy"], left["robust accuracy"] = int(clean.sum()), int((clean & (times == 0)).sum())
    said["clean accuracy"], said["robust accuracy"] = record["clean_accuracy"], record["robust_accuracy"]
    failures = [
        f"{name}: {left[name]} of {record['images']} images, not what the record says"
        for name, share in said.items()
        if share is not None and abs(share * record["images"] - left[name]) > 0.5
    ]
    for attack in record["attacks"]:
        wrong = broken[attack["name"]]
        counts = {"broken": int(wrong.sum()), "only": int((wrong & (times == 1)).sum())}
        failures += [
            f"{attack['name']}: {name} is {count}, not what the record says"
            for name, count in counts.items()
            if attack[name] != count
        ]
    exact = binomtest(left["robust accuracy"], record["images"]).proportion_ci(0.95, method="exact")
    if not np.allclose(np.array(record["interval"], dtype=np.float64), exact, rtol=0, atol=1e-6):
        failures.append(f"interval: [{exact.low:.4f}, {exact.high:.4f}], not what the record says")
    if record["incomplete"] is not any(None in column for column in digests.values()):
        failures.append("incomplete: not what the record says")
    return failures + _misremembered(folder / "control", record["control"])


def outcomes(folder: Path, digests: dict[str, list[str | None]]) -> tuple[Array, dict[str, Array]]:
    """Which images (N,) are right, and which each attack broke; a chunk that it crashed on stands."""
    clean: list[Array] = []
    broken: dict[str, list[Array]] = {name: [] for name in digests}
    for number in range(len(next(iter(digests.values())))):
        found: dict[str, Array] = {}
        right: Array | None = None
        for name in digests:
            if digests[name][number] is not None:
                part = folder / slug(name) / f"chunk-{number:04d}.npz"
                with part.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    right = stored["clean_correct"] if right is None else right
                    found[name] = right & stored["attacked"] & ~stored["robust"]
        assert right is not None  # an evaluation has no chunk that every attack crashed on
        clean.append(right)
        for name, parts in broken.items():
            parts.append(found.get(name, np.zeros(len(right), dtype=bool)))
    return np.concatenate(clean), {name: np.concatenate(parts) for name, parts in broken.items()}


def _misremembered(folder: Path, control: dict[str, Any] | None) -> list[str]:
    """Whether the control's own evaluation says what the record says of it."""
    if control is None:
        return []
    if not (folder / "evaluation.json").is_file():
        return ["control: the record has one, but nothing of it is kept"]
    share = read_evaluation(folder)["robust_accuracy"]
    if control != {"robust_accuracy": share, "broken": share <= CONTROL_LIMIT}:
        return [f"control: it keeps {share:.4f}, not what the record says"]
    return []


def misreported(claim: dict[str, Any], parts: list[dict[str, Array]], clean: Array) -> list[str]:
    """Figures of a released procedure's record that do not follow from its batches."""
    correct, outside, steps = (
        np.concatenate([part[key].ravel() for part in parts]) for key in ("correct", "outside", "step_ratios")
    )
    kept = int(correct.sum())
    exact = binomtest(kept, len(correct)).proportion_ci(0.95, method="exact")
    figures: dict[str, float | list[float]] = {
        "accuracy": kept / len(correct),
        "interval": [exact.low, exact.high],
        "broken": int((clean & ~correct).sum()),
        "outside": float(outside.mean()),
        "median_step": float(np.sort(steps)[(len(steps) - 1) // 2]),
    }
    return [
        f"{claim['name']}: {figure} is {value}, not what the record says"
        for figure, value in figures.items()
        if claim[figure] is None or not np.allclose(claim[figure], value, rtol=1e-6, atol=1e-6)
    ]


def slug(name: str) -> str:
    """An attack's name as its folder."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip("-").replace("--", "-")
