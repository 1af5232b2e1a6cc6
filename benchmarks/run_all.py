"""Run the benchmarks of suite.yaml one after the other and write what they found beside each goal.

Each is a process of its own; one that fails is said to have failed, and the next begins. A figure is what its
benchmark measured: what was not run, or needs an option that is not given, is written as not run. What
`--only` leaves out keeps what an earlier call found, which lies beside the page in a JSON file, with its
machine and versions. `--quick` uses tiny settings, to see that everything works; its figures mean nothing,
as the page then says, and a later call without it does not know them.

    OMP_NUM_THREADS=1 python benchmarks/run_all.py --data FOLDER --robust RUN --run RUN
    python benchmarks/run_all.py --only data_parallel golden
    python benchmarks/run_all.py --quick -o quick.md
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from common import machine
from reinforced.files import write_text

HERE = Path(__file__).parent
SUITE = HERE / "suite.yaml"
PAGE = HERE.parent / "docs" / "results" / "benchmarks.md"


@dataclass
class Outcome:
    """What became of a benchmark: its state in words, where it ran, what it printed, its figures by name.

    Figures of ``quick`` settings count for nothing.
    """

    state: str
    command: str = ""
    machine: str = ""
    printed: str = ""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    quick: bool = False


def main() -> None:
    suite: dict[str, dict[str, Any]] = yaml.safe_load(SUITE.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(suite), default=list(suite), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny settings: figures mean nothing")
    parser.add_argument("--data", help="folder that holds cifar10-lossless-6k.npz")
    parser.add_argument("--robust", help="run directory of an adversarially trained CIFAR-10 network")
    parser.add_argument("--run", help="run directory of a trained CIFAR-10 network, for the landscape")
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu", help="cpu bears a busy machine")
    parser.add_argument("-o", "--out", type=Path, default=PAGE, help="page; its JSON file lies beside it")
    options = parser.parse_args()
    if options.quick and options.out.resolve() == PAGE.resolve():
        parser.error("--quick measures nothing: give another page with -o")
    outcomes = known(options.out.with_suffix(".json"), quick=options.quick)
    with tempfile.TemporaryDirectory() as scratch:
        given = {name: getattr(options, name) for name in ("data", "robust", "run", "clock")}
        for name in options.only:
            entry = suite[name]
            command = entry["quick" if options.quick else "command"]
            outcomes[name] = replace(run(command, {**given, "scratch": scratch}), quick=options.quick)
            print(f"{name}: {outcomes[name].state}", flush=True)
            stored = {one: asdict(outcome) for one, outcome in outcomes.items()}
            write_text(options.out.with_suffix(".json"), json.dumps(stored, indent=1) + "\n")
            write_text(options.out, page(suite, outcomes, quick=options.quick))
    failed = [name for name in options.only if outcomes[name].state.startswith("failed")]
    print(f"{options.out}; failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


def known(file: Path, *, quick: bool) -> dict[str, Outcome]:
    """What earlier calls found; with ``quick`` settings only if they are wanted."""
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = {name: Outcome(**outcome) for name, outcome in stored.items()}
    return {name: outcome for name, outcome in found.items() if quick or not outcome.quick}


def run(command: str, given: dict[str, str | None]) -> Outcome:
    """One benchmark, unless an option that it needs is missing; its errors go to standard error too."""
    # Folders are of one machine: the page names what stands there in capitals instead.
    shown = {name: value if name == "clock" else name.upper() for name, value in given.items()}
    said = f"python benchmarks/{command.format(**shown)}"
    missing = [f"--{name}" for name, value in given.items() if f"{{{name}}}" in command and value is None]
    if missing:
        return Outcome(f"not run: give {' and '.join(missing)}", said)
    script, *arguments = [word.format(**given) for word in shlex.split(command)]
    if not (HERE / script).is_file():
        return Outcome(f"failed: there is no benchmarks/{script}")
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "figures.jsonl"
        done = subprocess.run(
            [sys.executable, str(HERE / script), *arguments, "--json", str(lines)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        found = (
            [json.loads(line) for line in lines.read_text("utf-8").splitlines()] if lines.is_file() else []
        )
    state = "run" if done.returncode == 0 else f"failed: it ended with {done.returncode}"
    printed = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("BAR "))
    figures = {one["name"]: one for one in found}
    return Outcome(state, said, machine(), printed.strip(), figures)


def page(suite: dict[str, dict[str, Any]], outcomes: dict[str, Outcome], *, quick: bool) -> str:
    """The Markdown of what is known so far."""
    parts = ["# Benchmarks", "", "Written by `python benchmarks/run_all.py`.", ""]
    parts += [tally(suite, outcomes), ""]
    if quick:
        parts += ["Quick settings: these figures show that the benchmarks work, nothing more.", ""]
    for name, entry in suite.items():
        outcome = outcomes.get(name, Outcome("not run"))
        parts += [f"## {name}", "", f"{entry['about'][0].upper()}{entry['about'][1:]}.", ""]
        if outcome.command:
            parts += [f"`{outcome.command}`", "", outcome.machine, ""]
        if outcome.state != "run":
            parts += [f"**{outcome.state[0].upper()}{outcome.state[1:]}.**", ""]
        parts += ["| figure | value | range | goal | kept |", "| --- | --- | --- | --- | --- |"]
        for figure in dict.fromkeys((*entry["goals"], *outcome.figures)):
            parts.append(row(figure, entry["goals"].get(figure), outcome.figures.get(figure)))
        parts += ["", *([entry["note"], ""] if "note" in entry else [])]
        if outcome.printed:
            parts += [
                "<details><summary>What it printed</summary>",
                "",
                outcome.printed,
                "",
                "</details>",
                "",
            ]
    return "\n".join(parts)


def tally(suite: dict[str, dict[str, Any]], outcomes: dict[str, Outcome]) -> str:
    """How many of the goals were kept."""
    goals = [(name, figure) for name, entry in suite.items() for figure in entry["goals"]]
    found = [outcomes[name].figures.get(figure) for name, figure in goals if name in outcomes]
    kept = [one["kept"] for one in found if one is not None]
    return (
        f"{sum(kept)} of {len(goals)} goals kept, {kept.count(False)} not, {len(goals) - len(kept)} not run."
    )


def row(name: str, goal: str | None, found: dict[str, Any] | None) -> str:
    """A figure beside its goal; a goal that the benchmark was not held to is said."""
    if found is None:
        return f"| {name} | not run | | {goal} | |"
    held = found["goal"] if goal in (None, found["goal"]) else f"{found['goal']} (suite: {goal})"
    low, high = found.get("range", (None, None))
    spread = "" if low is None else f"{low:.3g} to {high:.3g}"
    return f"| {name} | {found['figure']:.4g} | {spread} | {held} | {'yes' if found['kept'] else 'no'} |"


if __name__ == "__main__":
    main()
