"""Our PGD-50 at L-inf 8/255 against the bare passes it is made of, and against foolbox's and ART's.

Two networks: the undefended CIFAR-10 ResNet-18 that pyautoattack's wheel carries, and an adversarially
trained one of your own (``--robust``). All attack the same rightly classified images in the same batches,
with as many steps of the same length from uniform random starts (each from its own generator), in turn. Ours
is `run_attack`, with all of its checks and predictions; the others include their own verdict. Dropping is
``keep=first`` (an image is done with at its first misclassified iterate), no dropping ``keep=strongest``.

foolbox and ART are timed as a user gets them, when they compute the weights' gradients too, and once more
with these switched off by hand, as ours does by itself: "frozen".

    python benchmarks/attacks.py --data FOLDER --robust RUN --repetitions 3
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import bar, machine, parse, spread, take_turns
from reinforced.attacks.base import CHUNK, run_attack
from reinforced.attacks.minimum_norm import foolbox
from reinforced.attacks.pgd import PGD
from reinforced.attacks.seal import sealed
from reinforced.attacks.threat import ThreatModel
from reinforced.models import build
from reinforced.training.device import resolve_device
from reinforced.training.run import load_model

THREAT = ThreatModel("linf", 8 / 255)
DATA = "cifar10-lossless-6k.npz"
CLASSES = 10
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CLEAN_PREDICTIONS, FINAL_PREDICTIONS = 2, 1
"""What `run_attack` asks of the model itself, beside the attack's own passes."""


@dataclass
class Case:
    """A network, the images of ``total`` that it classifies rightly, and how they are attacked."""

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    total: int
    steps: int
    step: float
    clock: Callable[[], float]
    faster: float
    robust: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(torch.split(self.images, CHUNK), torch.split(self.labels, CHUNK), strict=True))

    def timed(self, name: str, attack: Callable[[int], int | None]) -> Callable[[], float]:
        """Seconds of ``attack``, which gives the images left standing; the first call is one step long."""
        called = False

        def measure() -> float:
            nonlocal called
            steps, called = self.steps if called else 1, True
            torch.manual_seed(0)
            np.random.seed(0)
            began = self.now()
            left = attack(steps)
            seconds = self.now() - began
            if left is not None:
                self.robust[name] = left / self.total
            return seconds

        return measure


def ours(case: Case, keep: str) -> Callable[[int], int]:
    def attack(steps: int) -> int:
        chosen = PGD(steps=steps, step=case.step, keep=keep)
        result = run_attack(chosen, case.model, case.images, case.labels, THREAT, seed=0)
        return int(result.robust.sum())

    return attack


def bare(case: Case) -> Callable[[int], None]:
    """As many forward passes and gradients as ours without dropping, and nothing else."""

    def attack(steps: int) -> None:
        with sealed(case.model, case.device):
            for images, labels in case.batches():
                for _ in range(steps):
                    x = images.detach().requires_grad_()
                    loss = F.cross_entropy(case.model(x), labels, reduction="sum")
                    torch.autograd.grad(loss, x)
                with torch.no_grad():
                    for _ in range(1 + CLEAN_PREDICTIONS + FINAL_PREDICTIONS):
                        case.model(images)

    return attack


def of_foolbox(case: Case) -> Callable[[int], int]:
    lent = foolbox("foolbox").PyTorchModel(case.model, bounds=(0, 1), device=case.device)

    def attack(steps: int) -> int:
        pgd = foolbox().LinfProjectedGradientDescentAttack(abs_stepsize=case.step, steps=steps)
        left = 0
        for images, labels in case.batches():
            _, _, success = pgd(lent, images, labels, epsilons=THREAT.epsilon)
            left += int((~success).sum())
        return left

    return attack


def of_art(case: Case) -> Callable[[int], int]:
    classifier = importlib.import_module("art.estimators.classification").PyTorchClassifier(
        model=case.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(case.images.shape[1:]),
        nb_classes=CLASSES,
        clip_values=(0.0, 1.0),
        device_type="gpu" if case.device.type == "cuda" else "cpu",
    )
    images, labels = case.images.cpu().numpy(), case.labels.cpu().numpy()

    def attack(steps: int) -> int:
        pgd = importlib.import_module("art.attacks.evasion").ProjectedGradientDescent(
            classifier,
            norm=np.inf,
            eps=THREAT.epsilon,
            eps_step=case.step,
            max_iter=steps,
            num_random_init=1,
            batch_size=CHUNK,
            verbose=False,
        )
        logits = classifier.predict(pgd.generate(images, labels), batch_size=CHUNK)
        return int((logits.argmax(axis=1) == labels).sum())

    return attack


def frozen(case: Case, attack: Callable[[int], int]) -> Callable[[int], int]:
    """The same without the weights' gradients."""

    def without(steps: int) -> int:
        with sealed(case.model, case.device), torch.enable_grad():
            return attack(steps)

    return without


DROPPING, WHOLE, BARE = "ours, dropping", "ours, no dropping", "the bare passes"


def compare(case: Case, repetitions: int) -> None:
    """All in turn, a row each, and the bars."""
    theirs = {"foolbox": of_foolbox(case), "ART": of_art(case)}
    theirs |= {f"{name}, frozen": frozen(case, attack) for name, attack in theirs.items()}
    attacks: dict[str, Callable[[int], int | None]] = {
        DROPPING: ours(case, "first"),
        WHOLE: ours(case, "strongest"),
        BARE: bare(case),
        **theirs,
    }
    seconds = take_turns({name: case.timed(name, attack) for name, attack in attacks.items()}, repetitions)

    def ratios(one: str, other: str) -> list[float]:
        return [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]

    for name, values in seconds.items():
        row = [
            f"{case.name} ({len(case.images)} of {case.total})",
            name,
            spread(values),
            *("" if name == own else spread(ratios(name, own)) for own in (DROPPING, WHOLE)),
            f"{case.robust[name]:.2%}" if name in case.robust else "",
        ]
        print(f"| {' | '.join(row)} |", flush=True)

    def bound(name: str, one: str, other: str, *, least: float = 0, most: float = 0) -> None:
        over = ratios(one, other)
        value = statistics.median(over)
        goal, met = (f">={least:g}", value >= least) if least else (f"<={most:g}", value <= most)
        BARS.append((f"{case.name}_{name}", value, goal, met, over))

    bound("over_bare_passes", WHOLE, BARE, most=1.05)
    for name in theirs:
        short = name.lower().replace(", ", "_")
        bound(f"{short}_over_dropping", name, DROPPING, least=case.faster)
    for name in ("foolbox", "foolbox, frozen"):
        bound(f"no_dropping_over_{name.replace(', ', '_')}", WHOLE, name, most=1.02)
    above = case.robust[DROPPING] - min(case.robust[name] for name in theirs)
    # Random starts differ, and an image or two with them.
    BARS.append(
        (f"{case.name}_robust_accuracy_above_the_lowest_of_theirs", above, "<=0.01", above <= 0.01, [])
    )


BARS: list[tuple[str, float, str, bool, list[float]]] = []


def undefended() -> nn.Module:
    """The ResNet-18 that the wheel of pyautoattack carries."""
    found = util.find_spec("pyautoattack")
    assert found is not None
    assert found.origin is not None
    weights = Path(found.origin).parent / "examples" / "model_test.pt"
    return build("resnet18_cifar", shape=(3, 32, 32), classes=CLASSES, weights=weights).eval()


def defended(path: Path, network: str, normalize: str) -> nn.Module:
    """A run's classifier, or weights of a network by name."""
    if path.is_dir():
        return load_model(path)
    return build(network, shape=(3, 32, 32), classes=CLASSES, weights=path, normalize=normalize).eval()


def case_of(name: str, model: nn.Module, count: int, faster: float, options: argparse.Namespace) -> Case:
    device = resolve_device(options.device)
    with np.load(options.data / DATA) as stored:
        images = torch.from_numpy(stored["X_test"][:count]).permute(0, 3, 1, 2).contiguous() / 255
        labels = torch.from_numpy(stored["y_test"][:count]).long()
    model, images, labels = model.to(device), images.to(device), labels.to(device)
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in torch.split(images, CHUNK)]) == labels
    print(f"{name}: {float(right.float().mean()):.1%} clean on the first {count} test images", flush=True)
    step = 2.5 * THREAT.epsilon / options.steps if options.step is None else options.step / 255
    clock = CLOCKS[options.clock]
    return Case(name, model, images[right], labels[right], count, options.steps, step, clock, faster)


def main() -> None:
    parser: Any = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {DATA}")
    parser.add_argument(
        "--robust", type=Path, help="run directory or weights of an adversarially trained network"
    )
    parser.add_argument("--network", default="cnn6_small", help="of --robust weights")
    parser.add_argument("--normalize", default="cifar10", help="of --robust weights")
    parser.add_argument("--images", type=int, default=64, help="first test images, undefended network")
    parser.add_argument("--robust-images", type=int, default=256, help="the same, adversarially trained one")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step", type=float, help="length of a step in 255ths [default: 2.5 * 8 / steps]")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: on a busy machine")
    options = parse(parser)
    if options.clock == "cpu" and (options.device != "cpu" or torch.get_num_threads() > 1):
        parser.error("--clock cpu needs OMP_NUM_THREADS=1 and --device cpu: waiting threads burn cycles too")
    print(machine())
    names = ("foolbox", "adversarial-robustness-toolbox")
    print(f"against: {', '.join(f'{name} {metadata.version(name)}' for name in names)}")
    print(
        f"data: {DATA}; PGD-{options.steps}, {THREAT}, batches of {CHUNK}, float32; "
        f"{options.repetitions} repetitions in turn, {options.clock} clock"
    )
    cases = [case_of("undefended", undefended(), options.images, 5, options)]
    if options.robust is None:
        print("robust: not run (give --robust RUN, an adversarially trained network)")
    else:
        model = defended(options.robust, options.network, options.normalize)
        cases.append(case_of("robust", model, options.robust_images, 1.3, options))
    print(f"step: {255 * cases[0].step:.3g}/255\n")
    print(
        "| network (attacked) | attack | s, median [range] | over dropping | over no dropping | robust acc. |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for case in cases:
        compare(case, options.repetitions)
    print()
    for line in BARS:
        bar(*line)


if __name__ == "__main__":
    main()
