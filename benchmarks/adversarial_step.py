"""The cost of adversarial training steps over a supervised one, and ours against the released procedure.

Every row is one `Stepper.step` on the same images, with crafting, checks and metrics in; augmentation and
loading are out on both sides. RL-adv as released stands below in full, written from its published code: it
acts, crafts on a sampled loss and learns in four forward and two full backward passes, in NCHW. All take
turns.

    python benchmarks/adversarial_step.py --repetitions 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from common import bar, machine, parse, spread, take_turns
from reinforced.allocator import keep_freed_memory
from reinforced.models import build
from reinforced.streams import Stream
from reinforced.training.device import resolve_device, resolve_precision
from reinforced.training.recipe import Phase
from reinforced.training.step import Stepper, trainee_of
from training_step import as_released, quiet

RL = {"kind": "reinforce", "exploration": 0.1, "coin": "batch", "log_floor": 1e-6}
ROWS: dict[str, tuple[dict[str, Any], float | None]] = {
    "supervised": ({}, None),
    "FGSM-AT": ({"adversary": {"kind": "fgsm", "epsilon": 8 / 255, "clean_weight": 0}}, 1.9),
    "fast-AT": ({"adversary": {"kind": "fast"}}, None),
    "PGD-10": ({"adversary": {"kind": "pgd"}}, 8.5),
    "TRADES-10": ({"adversary": {"kind": "trades"}}, 10),
    "MART-10": ({"adversary": {"kind": "mart"}}, None),
    "AWP on PGD-10": ({"adversary": {"kind": "awp"}}, None),
    "input-gradient penalty": ({"regularisers": [{"kind": "input_gradient"}]}, None),
    "RL-adv": ({"objective": RL, "adversary": {"kind": "fgsm", "craft": "sampled"}}, None),
}
SMALL, PAPERS = "cnn6_small", ("cnn6", "alicnn")


def data(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, 32, 32, generator=generator)
    labels = torch.randint(0, 10, (batch,), generator=generator)
    return images.to(device).contiguous(memory_format=torch.channels_last), labels.to(device)


def network(name: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return build(name, shape=(3, 32, 32), classes=10, normalize="cifar10").to(device)


def ours(
    name: str, settings: dict[str, Any], batch: int, steps: int, precision: str, device: torch.device
) -> Callable[[], None]:
    """``steps`` steps of our own."""
    images, labels = data(batch, device)
    model = network(name, device).to(memory_format=torch.channels_last).train()
    phase = Phase.model_validate({"epochs": 1, **settings})
    accelerator = Accelerator(cpu=device.type == "cpu")
    streams = {stream: Stream(0, stream, device) for stream in ("exploration", "adversary", "regulariser")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    trainee = trainee_of(model, accelerator, precision)
    stepper = Stepper(trainee, phase, optimizer, accelerator, streams, {}, None)

    def run() -> None:
        for _ in range(steps):
            stepper.step(images, labels, phase.objective)

    return run


# ------------------------------------------------------------------------------ the released procedure


def released(name: str, batch: int, steps: int, device: torch.device) -> Callable[[], None]:
    """RL-adv as its released code does it: float32, NCHW, losses read back, everything acted on twice."""
    images, labels = data(batch, device)
    images = images.contiguous()
    model = network(name, device).train()
    as_released(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run() -> None:
        for _ in range(steps):
            states = images.clone().requires_grad_()
            optimizer.zero_grad()
            clean = acted(model, states, labels)
            clean.item()
            clean.backward(retain_graph=True)  # type: ignore[no-untyped-call]  # weights' gradients too
            assert states.grad is not None
            found = torch.clamp(states.detach() + 0.01 * states.grad.sign(), 0, 1)
            acted(model, found, labels).item()
            optimizer.zero_grad()
            total = acted(model, states, labels) + acted(model, found, labels)
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def acted(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Their loss: both floors of 1e-6, the coin for the whole batch, reward 1 for the right class."""
    logits = model(images)
    pi = F.softmax(logits - logits.max(dim=1, keepdim=True)[0], dim=-1) + 1e-6
    pi = pi / pi.sum(dim=-1, keepdim=True)
    if torch.isnan(pi).any():
        raise ValueError("the released code would go on with uniform probabilities")
    if torch.rand(()) < 0.1:
        actions = torch.randint(0, 10, labels.shape, device=labels.device)
    else:
        actions = torch.distributions.Categorical(pi).sample()  # type: ignore[no-untyped-call]
    chosen = pi.gather(1, actions.unsqueeze(1)).squeeze(1)
    return -(torch.log(chosen + 1e-6) * (actions == labels).float()).mean()


# ------------------------------------------------------------------------------------------- the report


def timed(run: Callable[[], None], clock: Callable[[], float], device: torch.device) -> Callable[[], float]:
    def measure() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - began

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: the process's own")
    options = parse(parser)
    device, clock = resolve_device(options.device), CLOCKS[options.clock]
    if options.clock == "cpu" and torch.get_num_threads() > 1:
        parser.error("--clock cpu needs OMP_NUM_THREADS=1: waiting threads burn cycles too")
    if device.type == "cpu":
        keep_freed_memory()
    quiet()
    auto = resolve_precision("auto", device)
    print(machine())
    print(f"data: made-up 32x32 images; {options.repetitions} repetitions in turn, {options.clock} clock\n")
    print("| network | batch | step | precision | s/step, median [range] | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    steps = 3
    runs = {
        name: timed(ours(SMALL, settings, options.batch, steps, auto, device), clock, device)
        for name, (settings, _) in ROWS.items()
    }
    seconds = take_turns(runs, options.repetitions)
    for name, values in seconds.items():
        ratios = [value / plain for value, plain in zip(values, seconds["supervised"], strict=True)]
        row(SMALL, options.batch, name, auto, [value / steps for value in values], ratios)
        goal = ROWS[name][1]
        if goal is not None:
            figure = statistics.median(ratios)
            BARS.append((f"{name}_over_supervised", figure, f"<={goal:g}", figure <= goal, ratios))
    for name in PAPERS:
        batch = 64 if name == "cnn6" else 256
        settings = ROWS["RL-adv"][0]
        runs = {"released": timed(released(name, batch, 1, device), clock, device)}
        for precision in dict.fromkeys(("float32", auto)):
            runs[precision] = timed(ours(name, settings, batch, 1, precision, device), clock, device)
        seconds = take_turns(runs, options.repetitions)
        row(name, batch, "RL-adv as released", "float32", seconds["released"], [])
        for precision in dict.fromkeys(("float32", auto)):
            ratios = [a / b for a, b in zip(seconds["released"], seconds[precision], strict=True)]
            row(name, batch, "RL-adv, ours", precision, seconds[precision], ratios)
            figure = statistics.median(ratios)
            BARS.append((f"{name}_RL-adv_released_over_{precision}", figure, ">=2.2", figure >= 2.2, ratios))
    for line in BARS:
        bar(*line)


BARS: list[tuple[str, float, str, bool, list[float]]] = []
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def row(name: str, batch: int, what: str, precision: str, seconds: list[float], ratios: list[float]) -> None:
    cells = (name, batch, what, precision, spread(seconds), spread(ratios) if ratios else "")
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
