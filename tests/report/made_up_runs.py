"""Run directories with made-up figures, in the form that training, evaluation and diagnosis write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

THREAT = "linf:0.15"
ATTACKS = ("pgd(steps=40)", "autoattack", "square", "transfer(via=mifgsm,from=other)")
INDICATORS = {
    "gradient_norm(ce)": ("per pixel", ("image",)),
    "gradient_cosine": ("", ("image",)),
    "local_linearity": ("nats", ("image",)),
    "logit_margin": ("", ("image",)),
    "path_norm": ("per pixel", ("step", "image")),
    "path_cosine": ("", ("step", "image")),
    "path_signs": ("", ("step", "image")),
    "path_variance": ("", ("step",)),
}


@dataclass(frozen=True)
class MadeUp:
    """What a made-up run is like; images are grey below 32 pixels and coloured from there."""

    recipe: str = "quickstart/rl"
    seed: int = 0
    images: int = 96
    side: int = 8
    epochs: int = 12
    strength: float = 0.4
    label: str = "masked"
    classes: Sequence[str] = tuple("0123456789")
    threats: Sequence[str] = (THREAT,)
    attacks: Sequence[str] = ATTACKS
    landscape: int = 40
    published: bool = False


def make_run(path: Path, made_up: MadeUp = MadeUp()) -> Path:
    """Write a whole run directory; the same arguments give the same figures."""
    rng = np.random.default_rng([made_up.seed, sum(map(ord, made_up.recipe))])
    path.mkdir(parents=True)
    _training(path, made_up, rng)
    for threat in made_up.threats:
        _evaluation(path, made_up, threat, rng)
        _curves(path, threat, made_up.strength)
    _verdict(path, made_up)
    _indicators(path, made_up, rng)
    _landscape(path, made_up)
    return path


def write(path: Path, value: Any) -> None:
    """JSON, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def folder_of(threat: str) -> str:
    return threat.replace(":", "-").replace("/", "-")


def _training(path: Path, made_up: MadeUp, rng: np.random.Generator) -> None:
    published = {
        "metric": "robust",
        "percent": 30.41,
        "threat": THREAT,
        "attack": "autoattack",
        "source": "A paper",
    }
    recipe = {
        "schema": 1,
        "name": made_up.recipe,
        "source": "Made up.",
        "published": [published] if made_up.published else [],
        "size": "full",
        "seed": made_up.seed,
        "data": {"source": "digits"},
        "model": {"name": "tiny"},
        "phases": [{"epochs": made_up.epochs, "objective": {"kind": made_up.recipe}}],
    }
    (path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    versions = {"torch": "2.15.0", "numpy": "2.4.6"}
    write(
        path / "environment.json",
        {
            "reinforced": "0.1.0",
            "commit": "c0ffee" * 6,
            "packages": versions,
            "cores": 2,
            "data_sha256": "d" * 64,
        },
    )
    rows = []
    for epoch in range(1, made_up.epochs + 1):
        rise = 1 - np.exp(-epoch / 4) + rng.normal(0, 0.01)
        row = {
            "epoch": epoch,
            "train_accuracy": min(1, 0.97 * rise),
            "validation_accuracy": min(1, 0.93 * rise),
            "robust_train_accuracy": made_up.strength * rise * 1.1,
            "robust_validation_accuracy": made_up.strength * rise,
            "passes": 3e4 * epoch,
            "seconds": 1.5 * epoch,
            "loss": 1 / epoch,
        }
        rows.append(row)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    last = rows[-1]
    write(
        path / "summary.json",
        {"epochs": made_up.epochs, "stopped_early": False, "test_accuracy": 0.93, "test_images": 300}
        | {name: last[name] for name in ("passes", "seconds", "train_accuracy", "validation_accuracy")},
    )


def _evaluation(path: Path, made_up: MadeUp, threat: str, rng: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, channels = made_up.images, 3 if made_up.side >= 32 else 1
    folder = path / "evaluations" / folder_of(threat) / f"made-up-{count}"
    folder.mkdir(parents=True)
    labels = rng.integers(0, len(made_up.classes), count)
    clean = rng.random(count) < 0.95
    standing = clean.copy()
    images = (rng.random((count, channels, made_up.side, made_up.side)) * 160 + 40).astype(np.uint8)
    pictures: dict[str, Any] = {"images": images}
    pictures["predicted clean"] = np.where(clean, labels, (labels + 1) % 10).astype(np.int16)
    pictures["confidence clean"] = rng.uniform(0.5, 1, count).astype(np.float32)
    columns: dict[str, Any] = {
        "image": range(count),
        "label": labels,
        "clean_correct": clean,
        "robust": clean,
    }
    records = []
    for number, attack in enumerate(made_up.attacks):
        # AutoAttack is let loose on all of them, the others on what still stands.
        attacked = clean if attack.startswith(("pgd", "autoattack")) else standing
        robust = attacked & (rng.random(count) < made_up.strength ** (1 / (number + 1)))
        _chunks(folder, attack, images, attacked, clean, robust, rng)
        columns[attack] = [bool(r) if a else None for r, a in zip(robust, attacked, strict=True)]
        columns[f"{attack} distance"] = np.where(attacked, 0.15, 0.0)
        pictures[f"predicted {attack}"] = np.where(
            attacked & ~robust, (labels + 1) % 10, np.where(attacked, labels, -1)
        ).astype(np.int16)
        pictures[f"confidence {attack}"] = np.where(attacked, rng.uniform(0.4, 1, count), np.nan).astype(
            np.float32
        )
        standing = standing & (robust | ~attacked)
        records.append(_attack(attack, attacked, robust, clean))
    columns["robust"] = standing
    pq.write_table(pa.table(columns), folder / "outcomes.parquet")
    np.savez_compressed(folder / "pictures.npz", **pictures)
    share = float(standing.mean())
    evaluation = {
        "threat": threat,
        "images": count,
        "clean_accuracy": float(clean.mean()),
        "robust_accuracy": share,
        "interval": [max(0, share - 0.08), min(1, share + 0.08)],
        "autoattack_accuracy": next((r["accuracy"] for r in records if r["name"] == "autoattack"), None),
        "attacks": records,
        "as_released": [],
        "notes": [],
        "incomplete": False,
        "control": None,
        "matrix_sha256": "a" * 64,
        "setup": {
            "attacks": list(made_up.attacks),
            "seed": 0,
            "chunk": 64,
            "data_sha256": "e" * 64,
            "run_all": False,
        },
    }
    write(folder / "evaluation.json", evaluation)
    write(folder / "subject.json", {"checkpoint": "last", "classes": list(made_up.classes)})


def _attack(name: str, attacked: Any, robust: Any, clean: Any) -> dict[str, Any]:
    broken = int((attacked & ~robust).sum())
    return {
        "name": name,
        "attacked": int(attacked.sum()),
        "broken": broken,
        "only": broken // 3,
        "accuracy": float(robust.mean()) if np.array_equal(attacked, clean) else None,
        "median_distance": 0.15,
        "forwards": 1000,
        "gradients": 900,
        "elsewhere": 0,
        "flags": [],
        "seconds": 1.0,
        "failed_chunks": {},
    }


def _chunks(folder: Path, attack: str, images: Any, attacked: Any, clean: Any, robust: Any, rng: Any) -> None:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in attack).strip("-").replace("--", "-")
    (folder / name).mkdir()
    for number, start in enumerate(range(0, len(images), 64)):
        rows = slice(start, start + 64)
        pixels = images[rows][attacked[rows]] / 255
        adversarial = np.clip(pixels + 0.15 * rng.choice([-1, 1], pixels.shape), 0, 1).astype(np.float32)
        np.savez_compressed(
            folder / name / f"chunk-{number:04d}.npz",
            clean_correct=clean[rows],
            robust=robust[rows],
            attacked=attacked[rows],
            adversarial=adversarial,
        )


def _curves(path: Path, threat: str, strength: float) -> None:
    folder = path / "evaluations" / folder_of(threat)
    points = [
        {
            "at": at,
            "robust_accuracy": share,
            "interval": [max(0, share - 0.05), min(1, share + 0.05)],
            "passes": 100,
            "images": 300,
            "attack": "pgd(steps=50,loss=margin)",
        }
        for at in (0.0, 0.05, 0.1, 0.15, 0.3, 0.6)
        for share in [0.95 * float(np.exp(-at / strength * 2))]
    ]
    write(folder / "over-epsilon.json", points)
    cell = {"at": 0.0, "robust_accuracy": strength, "interval": [strength / 2, strength], "images": 300}
    write(folder / "transfer.json", {one: dict.fromkeys(("a", "b"), cell) for one in ("a", "b")})


def _verdict(path: Path, made_up: MadeUp) -> None:
    def share(value: float) -> dict[str, Any]:
        return {"count": round(100 * value), "share": value, "interval": [max(0, value - 0.05), value + 0.05]}

    witness = {
        "check": "loss_saturation",
        "fired": True,
        "grade": "witness",
        "message": "PGD breaks 40 of 60 images",
    }
    mechanism = {"check": "zero_gradients", "fired": True, "grade": "mechanism", "message": "zero on 80 %"}
    quiet = {"check": "randomness", "fired": False, "grade": None, "message": "nothing changes"}
    findings = [
        {"figures": {}, "passes": 10, "witnesses": [1, 2] if one is witness else [], "black_box": False} | one
        for one in (quiet, mechanism, witness)
    ]
    verdict = {
        "claim": f"pgd(steps=40)@{made_up.threats[0]}",
        "label": made_up.label,
        "paragraph": f"{made_up.label.upper()}. The claim of 60.0 % is examined. PGD breaks 40 of 60 images.",
        "reason": "PGD breaks 40 of 60 images.",
        **{
            name: share(value)
            for name, value in (("claimed", 0.6), ("residual", 0.2), ("loss", 0.4), ("control", 0.1))
        },
        "images": 100,
        "passes": 1e5,
        "budget": "quick",
        "not_tested": ["the full ensemble (AutoAttack and more): needs --budget standard"],
        "findings": findings,
        "folder": "made-up",
    }
    write(path / "verdict.json", verdict)


def _indicators(path: Path, made_up: MadeUp, rng: np.random.Generator) -> None:
    count, steps = 32, 10
    arrays: dict[str, Any] = {}
    records = {}
    for name, (unit, axes) in INDICATORS.items():
        shape = tuple({"image": count, "step": steps}[axis] for axis in axes)
        values = rng.gamma(2, made_up.strength, shape)
        values.flat[0] = np.nan
        arrays[name] = values
        records[name] = {
            "unit": unit,
            "axes": list(axes),
            "shape": list(shape),
            "mean": float(np.nanmean(values)),
        }
    arrays["entropy"] = rng.random((2, count))
    arrays["right"] = rng.random((2, count)) < 0.7
    entropy = [
        {"images": images, "prediction": prediction, "count": 16, "mean": 0.5, "std": 0.1}
        for images in ("clean", "adversarial")
        for prediction in ("right", "wrong")
    ]
    folder = path / "diagnostics" / "indicators"
    setup = {"model": path.name, "threat": made_up.threats[0], "images": count, "steps": steps, "seed": 0}
    write(
        folder / f"{folder_of(made_up.threats[0])}.json",
        setup | {"indicators": records, "entropy": entropy, "calibration": {}},
    )
    np.savez_compressed(folder / f"{folder_of(made_up.threats[0])}.npz", **arrays)


def _landscape(path: Path, made_up: MadeUp) -> None:
    size = made_up.landscape
    folder = path / "diagnostics" / "landscape" / f"{folder_of(made_up.threats[0])}-image-0"
    axis = np.linspace(-3, 3, size)
    across, along = np.meshgrid(axis, axis)
    loss = (made_up.strength * (across + 3) ** 2 + 0.3 * np.cos(2 * along)).astype(np.float32)
    decision = (across > 1).astype(np.int16) + (along > 2)
    record = {
        "model": path.name,
        "image": 0,
        "label": 0,
        "classes": list(made_up.classes),
        "threat": made_up.threats[0],
        "loss": {"name": "ce", "range": [float(loss.min()), float(loss.max())]},
        "attack": {"kind": "pgd", "steps": 20},
        "adaptive": True,
        "evaluated": 10,
    }
    write(folder / "landscape.json", record)
    np.savez_compressed(folder / "landscape.npz", axis=axis, loss=loss, decision=decision)
    rows = [
        f"{name},{at:.4g},{value:.4g},0"
        for name in ("adversarial", "random")
        for at, value in zip(axis, loss[0], strict=True)
    ]
    (folder / "slices.csv").write_text("axis,epsilons,loss,decision\n" + "\n".join(rows) + "\n")
