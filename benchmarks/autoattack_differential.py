"""Our APGD, FAB, Square and AutoAttack against pyautoattack called directly: the same images must break.

The network is the undefended CIFAR-10 ResNet-18 that pyautoattack's wheel carries, the images are the first
of the official test batch. Every attack meets every rightly classified image, in the same chunks and with the
same seeds on both sides. At L-inf 8/255 such a network loses everything at once, where equality says little:
the smaller balls leave some standing.

A cascade of full length takes hours on a CPU, so all attacks are cut short, by their options where both sides
have one and inside pyautoattack for its cascade; ``--full`` leaves the lengths of the paper.

    OMP_NUM_THREADS=1 python benchmarks/autoattack_differential.py --data FOLDER
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyautoattack  # type: ignore[import-untyped]
import torch
from pyautoattack.autopgd_base import APGDAttack  # type: ignore[import-untyped]
from pyautoattack.fab_pt import FABAttack_PT  # type: ignore[import-untyped]
from pyautoattack.square import SquareAttack  # type: ignore[import-untyped]
from torch import Tensor, nn

from attacks import DATA, undefended
from common import bar, machine, parse
from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import run_attack
from reinforced.attacks.fab import FAB
from reinforced.attacks.pyaa import PyAutoAttack
from reinforced.attacks.square import Square
from reinforced.attacks.threat import ThreatModel
from reinforced.streams import Stream
from reinforced.training.device import resolve_device

THREATS = ("linf:1/255", "l2:0.1", "linf:8/255")
CHUNK = 32
"""So that 64 images are two chunks, each with a seed of its own."""


def cascade_of(steps: int, queries: int) -> AbstractContextManager[Any]:
    """Within it AutoAttack's cascade is that short, whoever builds it."""
    set_version = pyautoattack.AutoAttack._set_version

    def shortened(cascade: Any, version: str = "standard") -> None:
        set_version(cascade, version)
        cascade.apgd.n_iter = cascade.apgd_targeted.n_iter = cascade.fab.n_iter = steps
        cascade.square.n_queries = queries

    return mock.patch.object(pyautoattack.AutoAttack, "_set_version", shortened)


def directly(attack: PyAutoAttack, model: nn.Module, images: Tensor, labels: Tensor, lent: Any) -> Tensor:
    """What pyautoattack finds on one chunk; ``lent`` has its norm, radius, seed and device."""
    found: Tensor
    if isinstance(attack, AutoAttack):
        cascade = pyautoattack.AutoAttack(model, version=attack.version, **lent)
        found, _ = cascade.run_standard_evaluation(images, labels, batch_size=len(images))
        return found
    direct: Any
    if isinstance(attack, APGD):
        direct = APGDAttack(model, n_iter=attack.steps, **lent)
    elif isinstance(attack, FAB):
        direct = FABAttack_PT(model, n_iter=attack.steps, n_restarts=1, **lent)
    elif isinstance(attack, Square):
        direct = SquareAttack(model, n_queries=attack.queries, p_init=0.8, resc_schedule=False, **lent)
    else:
        raise ValueError(f"no direct counterpart of {attack.name}")
    found = direct.perturb(images, labels)
    return found.detach()


def theirs(
    attack: PyAutoAttack, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, seed: int
) -> tuple[Tensor, Tensor]:
    """Where the model is still right, (N,) bool, and the images found; chunk by chunk as `run_attack`."""
    robust, adversarial = torch.zeros_like(labels, dtype=torch.bool), images.clone()
    for number, start in enumerate(range(0, len(images), CHUNK)):
        rows = slice(start, start + CHUNK)
        with torch.no_grad():
            right = model(images[rows]).argmax(dim=1) == labels[rows]
        kept = start + right.nonzero().squeeze(1)
        draws = Stream(seed, f"{attack.name}/{number}").generator.initial_seed()
        lent = {
            "norm": threat.norm.capitalize(), "eps": threat.epsilon, "seed": draws, "device": images.device
        }  # fmt: skip
        adversarial[kept] = directly(attack, model, images[kept].clone(), labels[kept].clone(), lent)
        with torch.no_grad():
            robust[kept] = model(adversarial[kept]).argmax(dim=1) == labels[kept]
    return robust, adversarial


def compare(
    attack: PyAutoAttack, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, seed: int
) -> int:
    """One row of the table; how many images only one side broke."""
    began = time.process_time()
    ours = run_attack(attack, model, images, labels, threat, seed=seed, chunk=CHUNK)
    halfway = time.process_time()
    robust, found = theirs(attack, model, images, labels, threat, seed)
    ended = time.process_time()
    attacked = int(ours.clean_correct.sum())
    differing = int((ours.robust != robust).sum())
    apart = (ours.images - threat.project(found, images)).abs().amax()
    row = [
        str(threat), attack.name, f"{attacked}", f"{attacked - int(ours.robust.sum())}",
        f"{attacked - int(robust.sum())}", f"{differing}", f"{float(apart):.1e}",
        f"{halfway - began:.0f}", f"{ended - halfway:.0f}",
    ]  # fmt: skip
    print(f"| {' | '.join(row)} |", flush=True)
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {DATA}")
    parser.add_argument("--images", type=int, default=64, help="first test images")
    parser.add_argument("--threats", nargs="+", default=THREATS, help="such as linf:8/255 l2:0.1")
    parser.add_argument("--steps", type=int, default=4, help="of APGD and FAB, alone and in the cascade")
    parser.add_argument("--queries", type=int, default=40, help="of Square, alone and in the cascade")
    parser.add_argument("--full", action="store_true", help="the paper's lengths instead: hours on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parse(parser)
    device = resolve_device(options.device)
    with np.load(options.data / DATA) as stored:
        images = torch.from_numpy(stored["X_test"][: options.images]).permute(0, 3, 1, 2).contiguous() / 255
        labels = torch.from_numpy(stored["y_test"][: options.images]).long()
    images, labels = images.to(device), labels.to(device)
    model = undefended().to(device).requires_grad_(False)
    steps, queries = (100, 5000) if options.full else (options.steps, options.queries)
    attacks = [APGD(steps=steps), FAB(steps=steps), Square(queries=queries), AutoAttack()]
    print(machine())
    print(
        f"against: pyautoattack {metadata.version('pyautoattack')}; data: {DATA}, first {options.images} "
        f"test images, chunks of {CHUNK}, seed {options.seed}, {device}"
    )
    print(f"cascade: {'as published' if options.full else f'{steps} steps, {queries} queries a part'}\n")
    print(
        "| threat | attack | attacked | broken by ours | directly | differing | pixels apart "
        "| ours, CPU s | directly |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    differing = {attack.name.partition("(")[0]: 0 for attack in attacks}
    with nullcontext() if options.full else cascade_of(steps, queries):
        for threat in map(ThreatModel.parse, options.threats):
            for attack in attacks:
                found = compare(attack, model, images, labels, threat, options.seed)
                differing[attack.name.partition("(")[0]] += found
    print()
    for name, count in differing.items():
        bar(f"differential_{name}_differing_images", count, "==0", count == 0)


if __name__ == "__main__":
    main()
