"""What `keep_freed_memory` saves an attack on the CPU: PGD through `run_attack`, with it and without.

glibc cannot be set back, so each measurement is a fresh process, the two kinds in turn, after a warm-up call.

    python benchmarks/freed_memory.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import process_time as clock

import torch

from common import bar, machine, paired_ratios, parse, spread
from reinforced.allocator import keep_freed_memory
from reinforced.attacks.base import CHUNK, run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel
from reinforced.models import build, channels_last

SHAPE, CLASSES = (3, 32, 32), 10


def attack(network: str, steps: int, keep: bool) -> tuple[float, int]:
    """Seconds of one call on ``CHUNK`` images and the pages it had mapped afresh; of a process of its own."""
    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = channels_last(build(network, shape=SHAPE, classes=CLASSES), SHAPE, CLASSES).eval()
    images = torch.rand(CHUNK, *SHAPE)
    with torch.no_grad():
        labels = model(images).argmax(1)
    # A radius that breaks nothing, so that every step asks for every image.
    threat = ThreatModel("linf", 1e-6)
    run_attack(PGD(steps=2), model, images, labels, threat, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    began = clock()
    run_attack(PGD(steps=steps), model, images, labels, threat, seed=0)
    return clock() - began, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def measured(network: str, steps: int, repetitions: int) -> None:
    """A row of the table for each kind, and the bar, of one network."""
    pages: dict[bool, list[float]] = {True: [], False: []}

    def apart(keep: bool) -> float:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            seconds, faults = pool.submit(attack, network, steps, keep).result()
        pages[keep].append(faults / steps)
        return seconds

    kept, plain, ratios = paired_ratios(partial(apart, True), partial(apart, False), repetitions)
    for memory, seconds, keep in (("kept", kept, True), ("given back", plain, False)):
        each = [one / steps for one in seconds]
        print(f"| {network} | {memory} | {spread(each)} | {spread(pages[keep])} |", flush=True)
    value = statistics.median(ratios)
    bar(f"{network}_given_back_over_kept", value, ">=1.1", value >= 1.1, ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["cnn6_small", "cnn6"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parse(parser)
    print(machine())
    print(f"data: {CHUNK} made-up 32x32 images; PGD-{options.steps}, one thread, cpu clock\n")
    print("| network | freed memory is | s/step, median [range] | pages mapped afresh a step |")
    print("| --- | --- | --- | --- |")
    for network in options.networks:
        measured(network, options.steps, options.repetitions)


if __name__ == "__main__":
    main()
