"""CIFAR-100 and ImageNet-100 from download layout to report, on made-up images: 100 classes at 32 and 224 px.

Parquet files as the Hub has them -> npz -> train -> AutoAttack -> diagnose -> report, each through the
functions of the commands, with a small network. What it classifies means nothing. Beside it the papers'
recipes: the passes they take on the real number of images, the speed of their own networks timed here, the
hours that makes, and the memory.

    python benchmarks/hundred_classes.py [--tiny]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional as F

from common import machine
from reinforced.attacks.threat import ThreatModel
from reinforced.data import load, save_npz
from reinforced.diagnostics.findings import Claim
from reinforced.models import build
from reinforced.report.write import write_report
from reinforced.studies.diagnosis import diagnose_subject
from reinforced.studies.evaluations import Plan, evaluate_subject, remember_subject
from reinforced.studies.subjects import Source, load_subject
from reinforced.training.loop import train
from reinforced.training.plan import plan
from reinforced.training.recipes import load_recipe

CLASSES = 100
PER_CLASS = 3  # training images, one of them held out
HELD_OUT = 1 / PER_CLASS
GRAIN = 8  # side of the noise, px
CPU = torch.device("cpu")
PASSES = 3  # of a supervised step, an image


@dataclass(frozen=True)
class Set:
    """A data set: side in pixels, real images in the training split, and the columns of its files."""

    side: int
    images: int
    image: str
    label: str
    test: str


SETS = {
    "cifar100": Set(32, 50_000, "img", "fine_label", "test"),
    "imagenet100": Set(224, 126_689, "image", "label", "validation"),
}


def write_layout(folder: Path, made: Set) -> None:
    """Parquet files as a download leaves them; a class is a colour with noise."""
    stream = np.random.default_rng(0)
    for split, count in (("train", PER_CLASS), (made.test, 1)):
        labels = np.tile(np.arange(CLASSES), count)
        encoded = []
        for label in labels.tolist():
            colour = np.array([25 * (label % 10), 25 * (label // 10), 128])
            noise = stream.integers(0, 25, (GRAIN, GRAIN, 3)).repeat(made.side // GRAIN, 0)
            pixels = colour + noise.repeat(made.side // GRAIN, 1)
            buffer = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG", compress_level=1)
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({made.image: encoded, made.label: labels})
        names = {"names": [f"class {label}" for label in range(CLASSES)], "_type": "ClassLabel"}
        info = {"info": {"features": {made.label: names}}}
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)


def walk(name: str, folder: Path, *, epochs: int, images: int) -> None:
    """All the way; prints a line a step."""
    made = SETS[name]
    write_layout(folder / name, made)
    dataset = load(name, root=folder, validation=HELD_OUT)
    print(f"{name}: layout read, {len(dataset.classes)} classes of {tuple(dataset.train.shape)}", flush=True)
    npz = folder / f"{name}.npz"
    save_npz(dataset, npz)
    again = load(f"npz:{npz}", validation=HELD_OUT)
    everything = len(dataset.train) + len(dataset.validation)
    assert len(again.train) + len(again.validation) == everything == PER_CLASS * CLASSES
    print(f"{name}: npz written and read, {npz.stat().st_size / 1e6:.1f} MB", flush=True)
    recipe = load_recipe(
        f"zou2026/{name}-rl-expected",
        overrides=[
            f"data.source=npz:{npz}",
            "data.size=null",
            f"data.validation={HELD_OUT}",
            "data.augment={}",
            "model.name=tiny",
            "batch_size=32",
            "optimizer.lr=1e-2",
            f"phases.0.epochs={epochs}",
            "phases.0.objective={kind: cross_entropy}",
        ],
    )
    run = folder / f"{name}-run"
    summary = train(recipe, run, device=CPU)
    print(f"{name}: trained, test accuracy {summary['test_accuracy']:.1%}", flush=True)
    source = Source(images=images)
    subject = load_subject(str(run), source, CPU, run)
    threat = ThreatModel("linf", 8 / 255)
    attacks = Plan(("autoattack",), {}, None, 0, False, (1, 1))
    kept, found = evaluate_subject(subject, threat, attacks, lambda *_: None)
    assert found is not None
    assert not found.incomplete
    remember_subject(kept, str(run), source, subject.classes)
    left = found.autoattack_accuracy
    print(
        f"{name}: AutoAttack leaves {left:.1%} of {images} images, clean {found.clean_accuracy:.1%}",
        flush=True,
    )
    _, diagnosis = diagnose_subject(
        subject,
        Claim("fgsm", threat),
        budget="quick",
        control=None,
        surrogates={},
        smoothed=None,
        seed=0,
        told=lambda _: None,
    )
    print(f"{name}: diagnosed, {diagnosis.verdict.label}", flush=True)
    written = write_report([run], folder / f"{name}-report.html")
    assert written.gaps == ()
    print(f"{name}: report of {written.figures} figures", flush=True)


def project(name: str, *, batch: int, steps: int) -> None:
    """Memory and hours of the papers' recipes on the real number of images, on this machine."""
    made = SETS[name]
    pixels = made.images * made.side * made.side * 3
    print(f"{name}: {made.images:,} images are {pixels / 1e9:.2f} GB of uint8, memory-mapped", flush=True)
    speeds: dict[str, float] = {}
    for kind in ("sl", "rl", "rl-expected", "rl-adv"):
        recipe = load_recipe(f"zou2026/{name}-{kind}")
        network = recipe.model.name
        if network not in speeds:
            speeds[network] = _speed(network, made.side, batch, steps)
        held_out = round(recipe.data.validation * made.images)
        stretches = plan(recipe, made.images - held_out).stretches
        passes = sum(one.steps * one.phase.passes.total for one in stretches) * recipe.batch_size
        hours = passes / speeds[network] / 3600
        print(
            f"{name}: zou2026/{name}-{kind}, {network}: {passes / 1e6:,.0f} M passes, "
            f"{speeds[network]:,.1f} a second here, {hours:,.1f} projected hours",
            flush=True,
        )


def _speed(network: str, side: int, batch: int, steps: int) -> float:
    model = build(network, shape=(3, side, side), classes=CLASSES).train()
    images, labels = torch.rand(batch, 3, side, side), torch.arange(batch) % CLASSES
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    return steps * batch * PASSES / (time.perf_counter() - began)


def main() -> None:
    """Both data sets; ``--tiny`` takes seconds and proves the way alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few images and one step: no speed to speak of")
    tiny = parser.parse_args().tiny
    torch.manual_seed(0)
    if tiny:
        torch.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["REINFORCED_CACHE"] = str(Path(scratch) / "cache")  # the user's own is left alone
        for name, made in SETS.items():
            epochs = 1 if tiny and made.side > 32 else 4
            walk(name, Path(scratch), epochs=epochs, images=2 if tiny else 64)
            project(name, batch=2 if tiny else 32, steps=1 if tiny else 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of all this: {peak:.2f} GB")


if __name__ == "__main__":
    main()
