"""The smoothness and telescoping bounds of docs/theory.md along PGD paths of trained runs, in float64.

The path is PGD's on cross-entropy, from the image itself, on the first test images that the run classifies
rightly. Both losses are measured on the same points: their gradients point the same way.

    python benchmarks/bounds.py RUN [RUN ...] --threat linf:0.15
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.data import load, to_float
from reinforced.diagnostics.bounds import Steps, steps_of
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.path import walk
from reinforced.training.run import RunDirectory, load_model

ROUNDING = 1e-12


def path_of(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, steps: int) -> Tensor:
    """(T + 1, N, C, H, W) float64."""
    with lent(model, images, labels) as meter:
        iterates = walk(meter, images, images, labels, threat, steps=steps)
        return torch.stack([iterate.images.detach() for iterate in iterates]).double()


def holds(found: Tensor, bound: Tensor) -> str:
    """Share of the steps within their bound."""
    return f"{100 * float((found <= bound + ROUNDING).double().mean()):.2f} %"


def line(run: str, name: str, found: Steps) -> str:
    """A row of the table: means over the images of sums over the steps."""
    rise, promised, tight, loose = (
        float(value.sum(0).mean()) for value in (found.rise, found.promised, found.tight, found.loose)
    )
    cells = [
        run,
        name,
        holds(found.rise, found.tight),
        holds(found.rise, found.loose),
        f"{rise:.3g}",
        f"{promised:.3g}",
        f"{tight:.3g} ({tight / rise:.2g} x)",
        f"{loose:.3g} ({loose / rise:.2g} x)",
        f"{float(found.gradient.mean()):.3g}",
        f"{float(found.smoothness.mean()):.3g}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--threat", default="linf:0.15")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--grid", type=int, default=16, help="points a step at which curvature is looked for")
    parser.add_argument("--data", type=Path, help="folder of data sets")
    options = parser.parse_args()
    threat = ThreatModel.parse(options.threat)
    print(f"{options.steps} steps of PGD at {threat}, {options.grid} points a step")
    print("| run | loss | tight holds | loose holds | rise | promised | tight | loose | gradient | beta |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    sums = []
    for run in options.runs:
        recipe = RunDirectory(run).recipe
        stored, labels = load(recipe.data.source, size=recipe.data.size, root=options.data).test.batch(
            torch.arange(options.images)
        )
        images, model = to_float(stored).contiguous(), load_model(run).eval()
        with torch.no_grad():
            right = model(images).argmax(1) == labels
        images, labels = images[right], labels[right]
        points = path_of(model, images, labels, threat, options.steps)
        exact = copy.deepcopy(model).double()

        def log_right(x: Tensor, exact: nn.Module = exact, labels: Tensor = labels) -> Tensor:
            return exact(x).log_softmax(1).gather(1, labels[:, None])[:, 0]  # type: ignore[no-any-return]

        ce = steps_of(lambda x, of=log_right: -of(x), points, grid=options.grid)  # type: ignore[misc]
        reward = steps_of(lambda x, of=log_right: 1 - of(x).exp(), points, grid=options.grid)  # type: ignore[misc]
        print(line(run.name, "cross-entropy", ce))
        print(line(run.name, "1 - p_y", reward), flush=True)
        with torch.no_grad():
            p = log_right(points[0]).exp()
        room = p + (reward.dip / 2 * reward.length**2).sum(0)
        kept = float((reward.promised.sum(0) <= room + ROUNDING).double().mean())
        sums.append(
            f"{run.name}: {len(labels)} images, p_y(x_0) {float(p.mean()):.3f}; sum of <g_t, d_t> on 1 - p_y "
            f"{float(reward.promised.sum(0).mean()):.3g}, at most {float(room.mean()):.3g} (on {kept:.1%})"
        )
    print("\n".join(sums))


if __name__ == "__main__":
    main()
