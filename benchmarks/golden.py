"""Golden losses: what the first ten updates of three recipes must give, whatever is rearranged around them.

`tests/golden/RECIPE.json` holds the loss of each update, float32 on one thread, and the machine that it was
computed on. `tests/training/test_golden.py` asks for equality on the same torch, processor and instruction
set, and elsewhere for a relative difference under 1e-5, because kernels there add in another order. A change
that is meant to change training renews them, and its reason belongs in the commit:

    python benchmarks/golden.py            # compare
    python benchmarks/golden.py --write    # renew
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from common import bar, parse
from reinforced.files import write_json
from reinforced.objectives import Objective
from reinforced.training.environment import processor_name
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.step import Stepper, Update

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
RECIPES = ("quickstart/sl", "quickstart/rl", "quickstart/rl-adv")
UPDATES, RELATIVE = 10, 1e-5


def here() -> dict[str, str]:
    """What the last bits of a loss depend on."""
    return {
        "torch": torch.__version__,
        "processor": processor_name(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def losses(name: str) -> list[float]:
    """The loss of each of the first updates of a recipe; torch must be on one thread."""
    recipe = load_recipe(name)
    images = UPDATES * recipe.batch_size
    recipe = load_recipe(name, overrides=[f"budget.passes={images * recipe.phases[0].passes.total}"])
    found: list[float] = []
    step = Stepper.step

    def recorded(self: Stepper, images: Tensor, labels: Tensor, objective: Objective) -> Update:
        update = step(self, images, labels, objective)
        found.append(update.sums["loss"].item() / len(labels))
        return update

    with tempfile.TemporaryDirectory() as run, mock.patch.object(Stepper, "step", recorded):
        train(recipe, Path(run), device=torch.device("cpu"))
    return found


def file_of(name: str) -> Path:
    """Where a recipe's golden losses lie."""
    return FOLDER / f"{name.replace('/', '-')}.json"


def stored(name: str) -> dict[str, Any]:
    """``recipe``, ``machine`` and ``losses``, as written."""
    golden: dict[str, Any] = json.loads(file_of(name).read_text(encoding="utf-8"))
    return golden


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="renew tests/golden")
    options = parse(parser)
    torch.set_num_threads(1)
    for name in RECIPES:
        found = losses(name)
        if options.write:
            write_json(file_of(name), {"recipe": name, "machine": here(), "losses": found})
            print(f"{file_of(name)}: {found[0]:.6f} to {found[-1]:.6f}")
            continue
        pairs = list(zip(found, stored(name)["losses"], strict=True))
        apart = max(abs(one - other) / abs(other) for one, other in pairs)
        bar(f"golden_{name.replace('/', '_')}", apart, f"<={RELATIVE:g}", apart <= RELATIVE)


if __name__ == "__main__":
    main()
