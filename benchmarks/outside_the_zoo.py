"""The judge on defences that are not in the calibration zoo, and that no threshold was set on.

All but the last keep most predictions of a plain or little robust network, so none may be called genuine;
the last is honest. Digits, standard budget, 600 images, the zoo's networks of one seed; the control is a
plain network of another. Goes on where it stopped; a defence takes minutes on one core.

    OMP_NUM_THREADS=1 python benchmarks/outside_the_zoo.py --folder outside
    python benchmarks/outside_the_zoo.py --only stateful decoy
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import bar, machine, parse
from reinforced.attacks.threat import DIGITS
from reinforced.diagnostics.diagnose import diagnose
from reinforced.diagnostics.findings import Claim
from reinforced.studies.calibrate import CONTROL, claim_images
from reinforced.zoo import Bases

SEED = 0


class Sawtooth(nn.Module):
    """Moves each pixel by at most 0.01, in waves so short that no gradient is a slope."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.sin(x * (2 * math.pi / 0.002))


class _Misdirecting(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, model: nn.Module, other: nn.Module) -> Tensor:
        ctx.x = x.detach().requires_grad_()
        with torch.enable_grad():
            ctx.out = other(ctx.x)
        logits: Tensor = model(x)
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (found,) = torch.autograd.grad(ctx.out, ctx.x, gradients[0], retain_graph=True)
        return found, None, None


class Misdirected(nn.Module):
    """One network's logits with another's gradients."""

    def __init__(self, model: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.model, self.other = model, other

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = _Misdirecting.apply(x, self.model, self.other)
        return logits


class Wary(Misdirected):
    """Answers with another, robust network as soon as somebody wants a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = (self.other if x.requires_grad else self.model)(x)
        return logits


class Around(nn.Module):
    """Something before or after a network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class BatchCentred(Around):
    """Logits minus their mean over the batch: an answer depends on its neighbours."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.model(x)
        return z - z.mean(0, keepdim=True) if len(z) > 1 else z


class Stateful(Around):
    """Answers what lies near one of the first 700 images it ever saw as it answered that one."""

    def __init__(self, model: nn.Module, radius: float = 0.16) -> None:
        super().__init__(model)
        self.radius, self.seen = radius, torch.empty(0, 64)
        self.said = torch.empty(0, 10)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.model(x)
        flat = x.detach().flatten(1)
        new = torch.ones(len(x), dtype=torch.bool)
        if len(self.seen):
            distance, nearest = torch.cdist(flat, self.seen, p=float("inf")).min(1)
            new = distance > self.radius
            z = torch.where(new[:, None], z, self.said[nearest] + 0 * z)
        if len(self.seen) < 700:
            self.seen = torch.cat([self.seen, flat[new]])
            self.said = torch.cat([self.said, z.detach()[new]])
        return z


class Switching(nn.Module):
    """One of several networks, drawn anew for each batch."""

    def __init__(self, *models: nn.Module) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.models[int(torch.randint(len(self.models), ()))](x)
        return logits


class Shifting(Around):
    """Moves each batch by up to a pixel, at random."""

    def forward(self, x: Tensor) -> Tensor:
        down, right = (int(by) for by in torch.randint(-1, 2, (2,)))
        moved = torch.roll(F.pad(x, (1, 1, 1, 1)), (down, right), (2, 3))[..., 1:-1, 1:-1]
        logits: Tensor = self.model(moved)
        return logits


class Decoy(Misdirected):
    """The label of one network, as a constant lead over the scores of another."""

    def forward(self, x: Tensor) -> Tensor:
        label = F.one_hot(self.model(x).argmax(1), 10)
        scores: Tensor = self.other(x)
        return 30 * label + scores


class Rounded(Around):
    """Logits rounded to multiples of 4, the label ahead by a hundredth."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.model(x)
        return (z / 4).round() * 4 + 0.01 * F.one_hot(z.argmax(1), 10)


class GridGated(Misdirected):
    """A plain network on 8-bit images, a robust one wherever an attack steps."""

    def forward(self, x: Tensor) -> Tensor:
        steps = x.detach() * 255
        whole = (steps - steps.round()).abs().flatten(1).amax(1) < 1e-3
        return torch.where(whole[:, None], self.model(x), self.other(x))


class AloneGated(Misdirected):
    """A plain network on a single image, a robust one on a batch."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = (self.model if len(x) == 1 else self.other)(x)
        return logits


def defences(plain: nn.Module, robust: nn.Module, other: nn.Module) -> dict[str, nn.Module]:
    """All by name, of a plain network, a robust one and another plain one."""
    return {
        "sawtooth": nn.Sequential(Sawtooth(), plain),
        "misdirected": Misdirected(plain, robust),
        "wary": Wary(plain, robust),
        "batch-centred": BatchCentred(plain),
        "stateful": Stateful(plain),
        "switching": Switching(plain, other),
        "shifting": Shifting(plain),
        "decoy": Decoy(plain, robust),
        "rounded": Rounded(plain),
        "grid-gated": GridGated(plain, robust),
        "alone-gated": AloneGated(plain, robust),
        "honest": robust,
    }


NAMES = tuple(defences(*(nn.Identity() for _ in range(3))))
CLAIMS = dict.fromkeys(("grid-gated", "alone-gated", "honest"), "pgd(steps=50,loss=margin,restarts=3)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--folder", type=Path, default=Path("outside"))
    options = parse(parser)
    torch.set_num_threads(1)
    print(machine())
    print("data: digits, 600 images; standard budget; linf:0.15\n")
    print("| defence | claimed | left | verdict | its reason | processor seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    images, labels = claim_images()
    bases = Bases(options.folder / "bases")
    networks = [bases.get(name, seed) for name, seed in (("sl", SEED), ("pgd-at", SEED), ("sl", 1000 + SEED))]
    control = bases.get("sl", CONTROL + SEED)
    models = defences(*networks)
    verdicts = {}
    for name in options.only:
        began = time.process_time()
        found = diagnose(
            models[name].eval(),
            images,
            labels,
            claim=Claim(CLAIMS.get(name, "pgd"), DIGITS),
            control=control,
            budget="standard",
            seed=SEED,
            out=options.folder / name,
        ).verdict
        verdicts[name] = found.label
        cells = (name, found.claimed, found.residual, found.label, found.reason)
        print(f"| {' | '.join(map(str, cells))} | {time.process_time() - began:.0f} |", flush=True)
    false = sum(label == "genuine" and name != "honest" for name, label in verdicts.items())
    open_ones = sum(label == "inconclusive" for label in verdicts.values())
    bar("outside_false_genuine", false, "==0", false == 0)
    bar("outside_inconclusive", open_ones, "<=2", open_ones <= 2)


if __name__ == "__main__":
    main()
