"""Our training step against a bare loop with the same settings, and against the released procedure.

Ours is `reinforced.training.loop.train` itself: each measurement is a fresh run of one epoch, timed from the
end of its first batch to the end of its last, so loading, augmentation, checks and metrics are in and set-up,
validation and checkpoints are out. The bare loop and the released procedure stand below, in full. All take
the same networks and images and turn about, so that a drift of the machine's speed favours none. The released
procedure has a process of its own, for ours changes its process's allocator (`keep_freed_memory`).

    python benchmarks/training_step.py --repetitions 5
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from common import bar, machine, parse, spread, take_turns
from reinforced.data import Augment, Split, augment, to_float
from reinforced.models import build
from reinforced.models.classifier import STATISTICS
from reinforced.models.layers import EvenSameConv2d
from reinforced.streams import Stream
from reinforced.training.device import resolve_device, resolve_precision
from reinforced.training.loop import train
from reinforced.training.progress import Silent
from reinforced.training.recipe import Recipe

IMAGES, CLASSES, LR = 2048, 10, 1e-4
AUGMENT = Augment(horizontal_flip=True, vertical_flip=True, translate=0.1)
OBJECTIVES = {
    "clean": {"kind": "cross_entropy"},
    "RL": {"kind": "reinforce", "exploration": 0.1, "coin": "batch", "log_floor": 1e-6},
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Case:
    """A network and what is timed on it: ``steps`` of ``batch`` images of the set ``images``, ``labels``."""

    network: str
    batch: int
    steps: int
    objective: str
    images: np.ndarray[Any, np.dtype[np.uint8]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    device: torch.device
    clock: Callable[[], float]

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()

    def model(self) -> nn.Module:
        return build(self.network, shape=(3, 32, 32), classes=CLASSES, normalize="cifar10").to(self.device)


# ---------------------------------------------------------------------------------------------- ours


class Stopwatch(Silent):
    """Notes the time after each batch."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.times: list[float] = []

    def advance(self, images: int) -> None:  # noqa: ARG002
        self.times.append(self.case.now() if len(self.times) in (0, self.case.steps) else 0.0)


def ours(case: Case, precision: str, folder: Path) -> Callable[[], float]:
    """Seconds of ``case.steps`` steps of a run of our own."""
    data = folder / "images.npz"
    if not data.is_file():
        np.savez(
            data, X_train=case.images, y_train=case.labels, X_test=case.images[:64], y_test=case.labels[:64]
        )
    limit = (case.steps + 1) * case.batch
    source = {"source": f"npz:{data}", "validation": 40 / (limit + 40), "limit": limit}
    recipe = Recipe.model_validate(
        {
            "data": {**source, "augment": AUGMENT},
            "model": {"name": case.network, "normalize": "cifar10"},
            "batch_size": case.batch,
            "optimizer": {"kind": "adamw", "lr": LR},
            "phases": [{"epochs": 1, "objective": OBJECTIVES[case.objective]}],
            "precision": precision,
        }
    )

    def measure() -> float:
        watch = Stopwatch(case)
        with tempfile.TemporaryDirectory(dir=folder) as run:
            train(recipe, Path(run), device=case.device, reporter=watch)
        return watch.times[case.steps] - watch.times[0]

    return measure


# ---------------------------------------------------------------------------------------- the bare loop


def bare(case: Case) -> Callable[[], float]:
    """The same mathematics and settings without checks, metrics, state or accelerate."""
    device = case.device
    model = case.model().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    split = Split(torch.from_numpy(case.images).to(device), torch.from_numpy(case.labels).to(device))
    draws = Stream(0, "bare", device)

    def steps(count: int) -> None:
        order = torch.randperm(len(split), device=device)
        for rows in torch.split(order[: count * case.batch], case.batch):
            images, labels = split.batch(rows)
            logits = model(to_float(augment(images, AUGMENT, draws)))
            loss = (
                cross_entropy(logits, labels) if case.objective == "clean" else bare_reinforce(logits, labels)
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return timed(case, steps)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


def bare_reinforce(logits: Tensor, labels: Tensor) -> Tensor:
    """Sampled actions, or uniform ones for the whole batch where the coin says so; nothing waits for it."""
    pi = logits.softmax(1)
    explore = torch.rand((), device=logits.device) < 0.1
    actions = torch.where(explore, torch.full_like(pi, 1 / CLASSES), pi.detach()).multinomial(1)
    rewards = (actions[:, 0] == labels).float()
    return -(rewards * torch.log(pi.gather(1, actions)[:, 0] + 1e-6)).mean()


# ------------------------------------------------------------------------------ the released procedure


class PilImages(Dataset[tuple[Tensor, int]]):
    """Arrays of a prepared npz, an image at a time through PIL."""

    def __init__(self, case: Case) -> None:
        self.images, self.labels = case.images, case.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.RandomAffine(degrees=0, translate=(0.1, 0.1)),
                transforms.ToTensor(),
                transforms.Normalize(*STATISTICS["cifar10"]),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def released(case: Case) -> Callable[[], float]:
    """Contiguous tensors, PIL augmentation in a DataLoader without workers, AdamW as torch gives it."""
    wrapped = case.model().train()
    network: nn.Module = wrapped.network  # type: ignore[assignment]  # normalised by the DataLoader
    as_released(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    loader = DataLoader(PilImages(case), batch_size=case.batch, shuffle=True, drop_last=True)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    batches = endless()

    def steps(count: int) -> None:
        for _ in range(count):
            images, labels = next(batches)
            images, labels = images.to(case.device), labels.to(case.device)
            logits = network(images)
            loss = (
                cross_entropy(logits, labels) if case.objective == "clean" else released_loss(logits, labels)
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return timed(case, steps)


def released_loss(logits: Tensor, labels: Tensor) -> Tensor:
    pi = torch.softmax(logits, dim=1)
    if np.random.rand() < 0.1:  # one coin for the whole batch, as released
        actions = torch.randint(0, CLASSES, labels.shape, device=labels.device)
    else:
        actions = torch.distributions.Categorical(pi).sample()  # type: ignore[no-untyped-call]
    rewards = (actions == labels).float()
    chosen = pi.gather(1, actions.unsqueeze(1)).squeeze(1)
    return -(torch.log(chosen + 1e-6) * rewards).mean()


def as_released(network: nn.Module) -> None:
    """4x4 'same' convolutions by torch's own padding="same"."""
    for name, module in network.named_children():
        if isinstance(module, EvenSameConv2d):
            plain = nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, padding="same")  # type: ignore[arg-type]
            network.add_module(name, plain.to(module.weight.device))


class Worker:
    """``released`` in a fresh process, which waits while others are measured."""

    def __init__(self, case: Case) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(case, theirs, torch.get_num_threads()), daemon=True
        )
        self.process.start()

    def __call__(self) -> float:
        self.pipe.send("measure")
        seconds: float = self.pipe.recv()
        return seconds

    def close(self) -> None:
        self.pipe.send("end")
        self.process.join()


def serve(case: Case, pipe: Connection, threads: int) -> None:
    quiet()
    torch.set_num_threads(threads)
    measure = released(case)
    while pipe.recv() == "measure":
        pipe.send(measure())


def quiet() -> None:
    # torch warns that an even kernel with padding="same" copies its input; that is what is being timed.
    warnings.filterwarnings("ignore", message="Using padding='same'")


def timed(case: Case, steps: Callable[[int], None]) -> Callable[[], float]:
    """Seconds of ``case.steps`` steps."""

    def measure() -> float:
        began = case.now()
        steps(case.steps)
        return case.now() - began

    return measure


# ------------------------------------------------------------------------------------------- the report


def report(case: Case, seconds: Mapping[str, list[float]], goal: float) -> None:
    own = seconds["ours"]
    images = case.batch * case.steps
    ratios = {
        name: [other / mine for other, mine in zip(others, own, strict=True)]
        for name, others in seconds.items()
    }
    for name, values in seconds.items():
        rate = images / statistics.median(values)
        shown = spread([value / case.steps for value in values])
        against = "" if name == "ours" else spread(ratios[name])
        row = (case.network, case.batch, case.objective, name, shown, f"{rate:.0f}", against)
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    short = f"{case.network}_{case.objective.lower()}"
    value = statistics.median(ratios["bare loop"])
    BARS.append((f"{short}_of_bare_loop", value, ">=0.95", value >= 0.95, ratios["bare loop"]))
    value = statistics.median(ratios["released"])
    BARS.append((f"{short}_over_released", value, f">={goal:g}", value >= goal, ratios["released"]))
    if "ours, bf16" in ratios:  # what `precision: auto`, the default of every recipe, means here
        faster = [1 / ratio for ratio in ratios["ours, bf16"]]
        value = 1 / statistics.median(ratios["ours, bf16"])
        BARS.append((f"{short}_bf16_over_float32", value, ">=1.5", value >= 1.5, faster))
        pairs = zip(seconds["released"], seconds["ours, bf16"], strict=True)
        faster = [other / mine for other, mine in pairs]
        value = statistics.median(faster)
        BARS.append((f"{short}_bf16_over_released", value, f">={goal:g}", value >= goal, faster))


BARS: list[tuple[str, float, str, bool, list[float]]] = []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=["cnn6", "alicnn"], choices=["cnn6", "alicnn"])
    parser.add_argument(
        "--steps", type=int, help="timed steps a measurement [default: cnn6 2, alicnn 4; GPU 6]"
    )
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: this process's own, on a busy machine"
    )
    options = parse(parser)
    device = resolve_device(options.device)
    if options.clock == "cpu" and (device.type != "cpu" or torch.get_num_threads() > 1):
        parser.error("--clock cpu needs OMP_NUM_THREADS=1 and --device cpu: waiting threads burn cycles too")
    auto = resolve_precision("auto", device)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, IMAGES)
    print(machine())
    if device.type == "cuda":
        print(f"GPU: {torch.cuda.get_device_name(device)}")
    print(
        f"data: {IMAGES} made-up 32x32 images; AdamW {LR:g}, float32; flips and shifts of up to 3 pixels, "
        "uniform here and in the bare loop, rounded (ends less often) in torchvision; "
        f"{options.repetitions} repetitions in turn, {options.clock} clock\n"
    )
    print("| network | batch | step | loop | s/step, median [range] | images/s | its seconds / ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for network in options.networks:
        batch, steps = (64, 2) if network == "cnn6" else (256, 4)
        steps = options.steps or (steps if device.type == "cpu" else 6)
        for objective in OBJECTIVES:
            case = Case(network, batch, steps, objective, images, labels, device, CLOCKS[options.clock])
            with tempfile.TemporaryDirectory() as folder:
                worker = Worker(case)
                loops: dict[str, Callable[[], float]] = {
                    "ours": ours(case, "float32", Path(folder)),
                    "bare loop": bare(case),
                    "released": worker,
                }
                if auto != "float32":
                    loops[f"ours, {auto}"] = ours(case, auto, Path(folder))
                report(case, take_turns(loops, options.repetitions), 5 if device.type == "cuda" else 1.4)
                worker.close()
    for line in BARS:
        bar(*line)


if __name__ == "__main__":
    main()
