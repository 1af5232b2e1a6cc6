"""The run directory: the whole truth about a run, readable without this package."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from reinforced.errors import Damaged, ReinforcedError
from reinforced.files import locked, write_json, write_text
from reinforced.training.checkpoint import load_checkpoint
from reinforced.training.plan import plan
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import recipe_yaml, validate_recipe

SUMMARY = (
    "epochs",
    "stopped_early",
    "validation_accuracy",
    "best_validation_accuracy",
    "best_epoch",
    "test_accuracy",
    "test_images",
    "passes",
    "seconds",
)
"""What ``summary.json`` holds of every finished run."""


class RunDirectory:
    """Paths and plain files of one run.

    ``recipe.yaml`` (resolved), ``environment.json``, ``metrics.jsonl`` (a row an epoch),
    ``checkpoints/{last,best,epoch-0020,...}.safetensors`` (weights), ``checkpoints/state.safetensors`` and
    ``checkpoints/good.safetensors`` (what resuming and rolling back need) and, once finished,
    ``summary.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "checkpoints" / "state.safetensors"

    def weights(self, which: str) -> Path:
        """Where the weights ``last``, ``best`` or of an epoch (``"20"``) lie."""
        name = f"epoch-{int(which):04d}" if which.isdecimal() else which
        return self.path / "checkpoints" / f"{name}.safetensors"

    @property
    def kept_epochs(self) -> list[int]:
        """The epochs whose weights ``keep_every`` has kept so far."""
        files = (self.path / "checkpoints").glob("epoch-*.safetensors")
        return sorted(int(file.stem.removeprefix("epoch-")) for file in files)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            ReinforcedError: this is no run directory.
        """
        file = self.path / "recipe.yaml"
        if not file.is_file():
            raise ReinforcedError(f"{self.path} is no run directory (it has no recipe.yaml)")
        content = file.read_bytes()
        if self._recorded_recipe() not in (None, hashlib.sha256(content).hexdigest()):
            # A cut file may well be a valid recipe, with defaults for all that is gone.
            raise ReinforcedError(
                f"{file}: changed since the run began (environment.json has another recipe_sha256); "
                "restore it"
            )
        try:
            values = yaml.safe_load(content.decode("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise ReinforcedError(f"{file}: corrupt (not YAML)") from None
        return validate_recipe(values, str(file))

    def _recorded_recipe(self) -> str | None:
        """The hash of ``recipe.yaml`` as the run began; ``None`` if nobody wrote it down."""
        try:
            values = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return values.get("recipe_sha256") if isinstance(values, dict) else None

    def write_environment(self, record: dict[str, Any]) -> None:
        """Write down what the run began on, and with which recipe."""
        recipe = hashlib.sha256((self.path / "recipe.yaml").read_bytes()).hexdigest()
        write_json(self.path / "environment.json", {**record, "recipe_sha256": recipe})

    def difference(self, recipe: Recipe) -> str:
        """Where this run's recipe differs from another, in words; empty if only published figures do.

        Raises:
            ReinforcedError: this is no run directory, or its recipe is damaged.
        """
        old, new = (
            one.model_dump(mode="json", by_alias=True, exclude={"published"}) for one in (self.recipe, recipe)
        )
        return _first_difference(old, new)

    def prepare(self, recipe: Recipe) -> bool:
        """Make the directory for a recipe, or check that it is already that recipe's; whether it was made.

        Raises:
            ReinforcedError: the directory holds a run of another recipe, or something else.
        """
        file = self.path / "recipe.yaml"
        differing = self.other(recipe)
        if differing:
            raise ReinforcedError(
                f"{self.path} holds another run: {differing}; give this one its own --run DIR"
            )
        made = not file.is_file() or bool(self.difference(recipe))
        if made:
            self._refuse_other_folder()
            (self.path / "environment.json").unlink(missing_ok=True)
            write_text(file, recipe_yaml(recipe))
        for folder in (self.path, self.path / "checkpoints"):
            for left_by_a_kill in folder.glob(".*.part"):
                left_by_a_kill.unlink()
        return made

    def other(self, recipe: Recipe) -> str:
        """Where the run that this directory holds differs from a recipe; empty if it may be trained here.

        Raises:
            ReinforcedError: its recipe is damaged.
        """
        file = self.path / "recipe.yaml"
        differing = self.difference(recipe) if file.is_file() else ""
        # One killed before anything came of it is made anew, a recipe that somebody put there is kept.
        return "" if self._recorded_recipe() is not None and self._unbegun() else differing

    def _unbegun(self) -> bool:
        """Whether nothing has come of it; any file that is not ours counts as something."""
        ours = {"recipe.yaml", "environment.json", "run.lock", "checkpoints"}
        found = {entry.name for entry in self.path.iterdir() if not entry.name.endswith(".part")}
        return found <= ours and not any(self.path.glob("checkpoints/[!.]*"))

    def forget_unbegun(self) -> None:
        """Remove what a run has left that failed before anything came of it."""
        if self._unbegun():
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
            for name in ("recipe.yaml", "environment.json"):
                (self.path / name).unlink(missing_ok=True)

    def _refuse_other_folder(self) -> None:
        if not self.path.is_dir() or (self.path / "recipe.yaml").is_file():
            return
        ours = ("run.lock", ".recipe.yaml.")  # all that a process killed in its first moments can leave
        if not all(entry.name.startswith(ours) for entry in self.path.iterdir()):
            raise ReinforcedError(f"{self.path} is not empty and no run directory; choose another --run DIR")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the system lets go of it however the process ends.

        Raises:
            ReinforcedError: another process holds it.
        """
        try:
            self._refuse_other_folder()
        except OSError as error:
            raise ReinforcedError(f"cannot write {self.path}: {error.strerror}") from None
        with locked(self.path / "run.lock", "--run DIR"):
            yield

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``, an epoch each; empty before the first."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return []
        try:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except ValueError:
            rows = [None]
        if not all(isinstance(row, dict) for row in rows):
            raise ReinforcedError(f"{file}: corrupt (a line is not a JSON object)")
        return rows

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def summary(self) -> dict[str, Any] | None:
        """The figures of a finished run, or ``None``.

        Raises:
            Damaged: ``summary.json`` is.
        """
        file = self.path / "summary.json"
        if not file.is_file():
            return None
        try:
            summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            missing = next((name for name in SUMMARY if not isinstance(summary.get(name), (int, float))), "")
        except (ValueError, AttributeError):
            missing = "JSON"
        if missing:
            raise Damaged(
                f"{file}: corrupt (no {missing}); delete it and resume the run to write it again", file
            )
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Mark the run finished."""
        write_json(self.path / "summary.json", summary)


def load_model(run: Path, *, which: str | int = "last") -> nn.Module:
    """A finished or running run's classifier, in eval mode on the CPU.

    Args:
        run: the run directory.
        which: ``last``, ``best`` (by clean validation accuracy, or by what ``probe.select`` says), or the
            number of an epoch that ``keep_every`` has kept.

    Raises:
        ReinforcedError: no run there, no such weights yet, or a corrupt file.
    """
    from reinforced.models import build, channels_last  # noqa: PLC0415 - listing runs needs no network code

    directory = RunDirectory(run)
    recipe, file = directory.recipe, directory.weights(str(which))
    if which not in ("last", "best") and not (str(which).isdecimal() and file.is_file()):
        kept = ", ".join(map(str, directory.kept_epochs)) or "none (the recipe's keep_every keeps them)"
        raise ReinforcedError(f"{run} has no weights {which!s}; choose last, best, or a kept epoch: {kept}")
    tensors, values = load_checkpoint(file)
    channels, height, width = values["shape"]
    model = build(
        recipe.model.name,
        shape=(channels, height, width),
        classes=len(values["classes"]),
        normalize=recipe.model.normalize,
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise ReinforcedError(
            f"{file} does not fit {recipe.model.name}: has its code changed since?"
        ) from None
    return channels_last(model, (channels, height, width), len(values["classes"])).eval()


def default_run(recipe: Recipe, runs: Path) -> Path:
    """Where a recipe's run goes unless told: ``zou2026-cifar10-rl-cpu-seed1`` in ``runs``."""
    parts = [recipe.name.replace("/", "-")]
    if recipe.size != "full":
        parts.append(recipe.size)
    if recipe.seed:
        parts.append(f"seed{recipe.seed}")
    return runs / "-".join(parts)


@dataclass(frozen=True)
class RunOverview:
    """A run's headline figures; ``state`` is finished, stopped early, unfinished or unreadable."""

    name: str
    recipe: str
    size: str
    seed: int
    epoch: int
    epochs: int
    validation: float | None
    test: float | None
    passes: float
    seconds: float
    state: str


def overview(folder: Path) -> list[RunOverview]:
    """The runs directly inside ``folder`` (or ``folder`` itself), by name.

    Raises:
        ReinforcedError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ReinforcedError(f"no folder {folder}; train something first: `reinforced quickstart`")
    candidates = [folder, *sorted(folder.iterdir())]
    found = [path for path in candidates if (path / "recipe.yaml").is_file()]
    if not found:
        raise ReinforcedError(f"no runs in {folder}; train something first: `reinforced quickstart`")
    return [_overview(RunDirectory(path)) for path in found]


def _overview(run: RunDirectory) -> RunOverview:
    try:
        recipe, rows, summary = run.recipe, run.metrics(), run.summary()
    except (ReinforcedError, OSError) as error:
        # One damaged run must not hide the others.
        return RunOverview(run.path.name, "", "", 0, 0, 0, None, None, 0, 0, f"unreadable: {error}")
    last = rows[-1] if rows else {}
    state = "unfinished" if summary is None else "stopped early" if summary["stopped_early"] else "finished"
    return RunOverview(
        run.path.name,
        recipe.name,
        recipe.size,
        recipe.seed,
        last.get("epoch", 0),
        _epochs(recipe, rows),
        last.get("validation_accuracy"),
        summary["test_accuracy"] if summary else None,
        last.get("passes", 0.0),
        last.get("seconds", 0.0),
        state,
    )


def _epochs(recipe: Recipe, rows: list[dict[str, Any]]) -> int:
    if recipe.budget is None or not rows:
        return recipe.epochs
    # The first epoch's images, whole batches of them, are all that the plan needs of the data.
    return plan(recipe, round(rows[0]["passes"] / recipe.phases[0].passes.total)).epochs


def _first_difference(old: Any, new: Any, where: str = "") -> str:
    """The first place where two plain values differ, in words; empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            found = _first_difference(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            found = _first_difference(before, after, f"{where}.{index}")
            if found:
                return found
        return ""
    return "" if old == new else f"{where} is {old!r} there and {new!r} here"
