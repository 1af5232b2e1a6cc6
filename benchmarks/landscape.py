"""The loss landscape of a trained `alicnn`: batched against one image at a time, adaptive against exact.

Without `--run`, `alicnn` is trained on 4,577 lossless CIFAR-10 images by the recipe below, in a temporary
folder. The planes are those of the first ten test images at L-inf 8/255, image i with seed i.

Speed is measured in turn on the same cells, spread over the grid of the first plane (`--timed`). One at a
time is what Zou et al. 2026 do: build a point, run the network on it, read loss and class. What the adaptive
grid got wrong is counted over all 90,000 cells of each plane, or with `--cells N` over N random ones. Exact
grids are kept in `--keep FOLDER`, where a later call finds them.

    python benchmarks/landscape.py --data FOLDER
    python benchmarks/landscape.py --data FOLDER --run RUN --clock cpu --cells 4000
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import bar, machine, paired_ratios, parse, spread
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.cells import Cells, judged
from reinforced.diagnostics.indicators.landscape import SIZE, SPAN, Landscape, landscape
from reinforced.diagnostics.indicators.plane import Plane, adversarial_plane
from reinforced.training.device import resolve_device
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.run import load_model

DATA = "cifar10-lossless-6k.npz"
RECIPE = f"""
schema: 1
data: {{source: "npz:{DATA}", augment: {{horizontal_flip: true, translate: 0.1}}}}
model: {{name: alicnn, normalize: cifar10}}
batch_size: 128
optimizer: {{kind: adamw, lr: 1.0e-3}}
phases:
  - {{epochs: 12, objective: {{kind: cross_entropy}}}}
"""
THREAT = ThreatModel("linf", 8 / 255)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def trained(data: Path, folder: Path, device: torch.device) -> Path:
    """Train by the recipe; the run directory."""
    os.environ.setdefault("REINFORCED_CACHE", str(folder / "decoded"))
    recipe, run = folder / "recipe.yaml", folder / "alicnn"
    recipe.write_text(RECIPE, encoding="utf-8")
    summary = train(load_recipe(str(recipe)), run, device=device, data_root=data)
    print(f"trained for {summary['epochs']} epochs: test accuracy {summary['test_accuracy']:.1%}", flush=True)
    return run


def one_at_a_time(model: nn.Module, plane: Plane, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and class of each point, each in a pass of its own."""
    losses, decisions = [], []
    label = torch.tensor([plane.label], device=plane.image.device)
    with torch.no_grad():
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            point = plane.image + x * plane.adversarial + y * plane.random
            logits = model(point[None])
            losses.append(F.cross_entropy(logits, label).item())
            decisions.append(int(logits.argmax(dim=1).item()))
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(decisions)


def compare_speed(model: nn.Module, plane: Plane, cells: int, repetitions: int, clock: str) -> None:
    """Both ways over the same cells, in turn; the single images on the network as other code would build it.

    ``load_model`` lays networks out in channels_last, which alone makes single images faster: said beside it.
    """
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    now = CLOCKS[clock]
    chosen = torch.linspace(0, SIZE * SIZE - 1, cells).long()
    axis = torch.linspace(-SPAN, SPAN, SIZE, dtype=torch.float64)
    a, b = axis[chosen % SIZE], axis[chosen // SIZE]
    answers: dict[str, tuple[Tensor, Tensor]] = {}
    image, label = plane.image[None].cpu(), torch.tensor([plane.label])
    with lent(model, image, label) as meter:
        batched, single = Cells(meter, plane), plane.to(next(model.parameters()).device)

        def ours() -> float:
            began = now()
            answers["ours"] = judged(batched.all(a, b), plane.label, "ce")
            return now() - began

        def theirs() -> float:
            began = now()
            answers["theirs"] = one_at_a_time(plain, single, a, b)
            return now() - began

        def laid_out() -> float:
            began = now()
            one_at_a_time(model, single, a, b)
            return now() - began

        ours(), theirs(), laid_out()
        mine, others, ratios = paired_ratios(ours, theirs, repetitions)
        _, _, same = paired_ratios(ours, laid_out, repetitions)
    for name, seconds in (("batched", mine), ("one image at a time", others)):
        print(f"{name}: {spread([1e3 * value / cells for value in seconds])} ms a cell ({clock})")
    print(f"one at a time / batched: {spread(ratios)}; {batched.batch} a batch, {batched.layout}")
    print(f"the same with single images on the channels_last network: {spread(same)}", flush=True)
    (loss, decision), (their_loss, their_decision) = answers["ours"], answers["theirs"]
    different = float((loss - their_loss).abs().max())
    turned = int((decision != their_decision).sum())
    print(f"largest loss {float(their_loss.max()):.3g}; decisions differ at {turned} cells")
    middle = sorted(ratios)[len(ratios) // 2]
    bar("batched_over_one_at_a_time", middle, ">=2.5", middle >= 2.5, ratios)
    bar("batched_loss_difference", different, "<=1e-05", different <= 1e-5)


def exact_cells(
    model: nn.Module, plane: Plane, cells: int | None, seed: int, keep: Path | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of cells of the flattened grid with their loss and class: all of them, or some drawn."""
    if cells is None:
        file = keep / f"exact-{seed}.npz" if keep else None
        if file is not None and file.is_file():
            with np.load(file) as stored:
                loss, decision = (torch.from_numpy(stored[name]) for name in ("loss", "decision"))
        else:
            grid = landscape(model, plane)
            loss, decision = grid.loss.flatten(), grid.decision.flatten()
            if file is not None:
                np.savez_compressed(file, loss=loss.numpy(), decision=decision.numpy())
        return torch.arange(SIZE * SIZE), loss, decision
    chosen = torch.randperm(SIZE * SIZE, generator=torch.Generator().manual_seed(seed))[:cells]
    axis = torch.linspace(-SPAN, SPAN, SIZE, dtype=torch.float64)
    with lent(model, plane.image[None], torch.tensor([plane.label])) as meter:
        logits = Cells(meter, plane).all(axis[chosen % SIZE], axis[chosen // SIZE])
    return chosen, *judged(logits, plane.label, "ce")


def compare_adaptive(grid: Landscape, exact: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float, float]:
    """Shares of the grid asked for and decided wrongly, and the largest loss error in parts of its range."""
    chosen, loss, decision = exact
    passes = grid.forwards / grid.loss.numel()
    wrong = float((grid.decision.flatten()[chosen] != decision).double().mean())
    # Of drawn cells the range is narrower than the grid's, so the error counts for more, never less.
    error = (grid.loss.flatten()[chosen] - loss).abs().max() / (loss.max() - loss.min())
    return passes, wrong, float(error)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {DATA}")
    parser.add_argument("--run", type=Path, help="run directory of a trained network instead")
    parser.add_argument("--planes", type=int, default=10)
    parser.add_argument("--cells", type=int, help="check the adaptive grid at so many cells [default: all]")
    parser.add_argument("--keep", type=Path, help="folder for exact grids; of one network only")
    parser.add_argument("--timed", type=int, default=960, help="cells a timed repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: this process's own, on a busy machine"
    )
    options = parse(parser)
    print(machine())
    device = resolve_device(options.device)
    with ExitStack() as stack:
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = load_model(options.run or trained(options.data, folder, device)).to(device)
        with np.load(options.data / DATA) as stored:
            images = torch.from_numpy(stored["X_test"][: options.planes]).permute(0, 3, 1, 2) / 255
            labels = torch.from_numpy(stored["y_test"][: options.planes]).long()
        planes = [
            adversarial_plane(model, image.contiguous(), int(label), THREAT, seed=number)
            for number, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        compare_speed(model, planes[0], options.timed, options.repetitions, options.clock)
        checked = "all cells" if options.cells is None else f"{options.cells} random cells"
        print(f"adaptive against exact, {checked} of each plane")
        print("| plane | passes | decision wrong | loss error / range | loss range | classes |")
        print("| --- | --- | --- | --- | --- | --- |")
        found = []
        for number, plane in enumerate(planes):
            grid = landscape(model, plane, adaptive=True)
            exact = exact_cells(model, plane, options.cells, number, options.keep)
            passes, wrong, error = compare_adaptive(grid, exact)
            found.append((passes, wrong, error))
            print(
                f"| image {number}, seed {number} | {passes:.2%} | {wrong:.3%} | {error:.3%} | "
                f"{float(grid.loss.min()):.3g} to {float(grid.loss.max()):.3g} | {len(grid.regions)} |",
                flush=True,
            )
    worst = [max(column) for column in zip(*found, strict=True)]
    bar("adaptive_share_of_passes", worst[0], "<=0.15", worst[0] <= 0.15)
    bar("adaptive_decision_wrong", worst[1], "<0.005", worst[1] < 0.005)
    bar("adaptive_loss_error_of_range", worst[2], "<=0.01", worst[2] <= 0.01)


if __name__ == "__main__":
    main()
