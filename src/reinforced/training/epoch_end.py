"""The end of an epoch: validate, probe, log, keep the best weights, guard, save; and the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from reinforced.data import Dataset, to_float
from reinforced.errors import ReinforcedError
from reinforced.training.checkpoint import save_checkpoint
from reinforced.training.loader import batches, count_correct
from reinforced.training.plan import Plan, Stretch
from reinforced.training.probe import Probe, collapsed, outwitted
from reinforced.training.progress import Reporter
from reinforced.training.recipe import Phase, Recipe
from reinforced.training.run import RunDirectory
from reinforced.training.state import State

ROLLBACKS = 3  # then training stops: a fourth collapse will not be the last


@dataclass
class Books:
    """What is measured, logged and kept of one run.

    Attributes:
        rows: of ``metrics.jsonl``, as far as the saved state has come.
    """

    recipe: Recipe
    plan: Plan
    directory: RunDirectory
    dataset: Dataset
    device: torch.device
    accelerator: Accelerator
    state: State
    reporter: Reporter
    rows: list[dict[str, Any]] = field(default_factory=list)

    def reopen(self) -> None:
        """Read the rows of the epochs that the state has finished.

        Raises:
            ReinforcedError: some are missing.
        """
        done = self.state.place.epoch
        self.rows = self.directory.metrics()[:done]
        if len(self.rows) < done:
            raise ReinforcedError(
                f"{self.directory.path / 'metrics.jsonl'} has {len(self.rows)} of {done} epochs; "
                "restore it, or delete the run directory to start over"
            )
        if not all({"epoch", "train_accuracy", "validation_accuracy"} <= row.keys() for row in self.rows):
            raise ReinforcedError(
                f"{self.directory.path / 'metrics.jsonl'}: corrupt (a row lacks its accuracies); restore it, "
                "or delete the run directory to start over"
            )

    @property
    def kept(self) -> nn.Module:
        """The weights that are evaluated and kept: the average, once something has entered it."""
        average = self.state.average
        if average is None or not average.n_averaged:
            return self.state.network
        module: nn.Module = average.module
        return module

    def close(self, stretch: Stretch, lr: float, save: Callable[[], None]) -> None:
        """Close an epoch; ``save`` writes the state file, which resuming reads, so it comes last."""
        state, place, recipe = self.state, self.state.place, self.recipe
        if recipe.averaging is not None and recipe.averaging.kind == "swa" and self.kept is not state.network:
            self._refresh_statistics(self.kept)
        images = stretch.batches(place.epoch) * recipe.batch_size
        means = self._means(images)
        validation, train = self.dataset.validation, self.dataset.train
        # Where no clean image was trained on, the same number of images as for validation tells the gap.
        seen = min(len(validation), len(train))
        clean = means.pop("accuracy", None)
        if clean is None:
            clean = count_correct(self.kept, train, self.device, limit=seen) / seen
        place.seconds += place.epoch_seconds
        row = {
            "epoch": place.epoch + 1,
            "objective": stretch.phase.objective.kind,
            "adversary": stretch.phase.adversary.kind,
            "lr": lr,
            "train_accuracy": clean,
            "validation_accuracy": count_correct(self.kept, validation, self.device) / len(validation),
            **means,
            "images_per_second": images / place.epoch_seconds,
            **place.spent,
            "seconds": place.seconds,
        }
        place.epoch, place.batch, place.epoch_seconds = place.epoch + 1, 0, 0.0
        state.order, state.sums = None, {}
        probe = recipe.probe if recipe.probe and recipe.probe.due(place.epoch, self.plan.epochs) else None
        if probe is not None:
            row |= probe.measure(self.kept, train, validation, recipe.seed)
        row = self._main_process_figures(row)
        if probe is not None:
            self._guard(probe, row, stretch.phase)
        self._keep_best(row)
        if recipe.early_stopping is not None and self._score(row) is not None:
            place.stopped |= place.epoch - place.best_epoch >= recipe.early_stopping.patience
        place.stopped &= place.epoch < self.plan.epochs  # after the last there is nothing to stop
        self.rows.append(row)
        if self.accelerator.is_main_process:
            self.directory.write_metrics(self.rows)
        self._keep("last")
        if recipe.keep_every is not None and place.epoch % recipe.keep_every == 0:
            self._keep(f"epoch-{place.epoch:04d}")
        save()
        self.reporter.epoch(row, self.plan.epochs)

    def _means(self, images: int) -> dict[str, float]:
        names = sorted(self.state.sums)
        sums = torch.stack([self.state.sums[name].float() for name in names])
        totals = self.accelerator.reduce(sums, reduction="sum")
        return dict(zip(names, (totals / images).tolist(), strict=True))

    def _main_process_figures(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the main process's figures, which decide alone what every process does.

        Each has batch-norm statistics of its own, so figures of its own; those that decided otherwise would
        wait for the others for ever.
        """
        if self.accelerator.num_processes == 1:
            return row
        names = [name for name, value in row.items() if isinstance(value, float)]
        figures = torch.tensor([row[name] for name in names], dtype=torch.float64, device=self.device)
        return row | dict(zip(names, broadcast(figures).tolist(), strict=True))

    def _guard(self, probe: Probe, row: dict[str, Any], phase: Phase) -> None:
        """Say, and where asked undo, a collapse of the accuracy under PGD on training images."""
        place, robust = self.state.place, row["robust_train_accuracy"]
        good = self.directory.weights("good")
        fallen = collapsed(robust, place.best_probe)
        # What training crafted met the bare weights: beside an average, which lags, it tells nothing.
        alike = self.kept is self.state.network and probe.covered_by(phase.adversary)
        crafted = row.get("crafted_accuracy", 0.0) if alike else 0.0
        if not fallen and not outwitted(robust, crafted):
            place.best_probe = max(place.best_probe, robust)
            if probe.on_collapse == "roll_back" and self.accelerator.is_main_process:
                self.state.save_weights(good)
            self.accelerator.wait_for_everyone()
            return
        row["collapsed"] = True
        against = f"accuracy under PGD-{probe.steps} {probe.threat} on training images"
        seen = (
            f"{against} fell from {place.best_probe:.1%} to {robust:.1%}"
            if fallen
            else f"{against} is {robust:.1%}, under {phase.adversary.kind} as trained {crafted:.1%}"
        )
        text = f"catastrophic overfitting in epoch {place.epoch}: {seen}"
        sound = any("robust_train_accuracy" in one and "collapsed" not in one for one in self.rows)
        if probe.on_collapse == "roll_back" and sound and place.rollbacks < ROLLBACKS:
            self.state.load_weights(good)
            place.rollbacks += 1
            row["rolled_back"] = True
            text += f"; back to the last sound weights ({place.rollbacks} of {ROLLBACKS} times)"
        elif probe.on_collapse != "say":
            place.stopped = True
            text += "; stopped" if sound else "; stopped, no check before has found the weights sound"
        self.reporter.note(text)

    def _score(self, row: dict[str, Any]) -> float | None:
        """What chooses the best weights; ``None`` in an epoch that it was not measured in."""
        select = self.recipe.probe is not None and self.recipe.probe.select
        score: float | None = row.get("robust_validation_accuracy" if select else "validation_accuracy")
        return score

    def _keep_best(self, row: dict[str, Any]) -> None:
        place, score = self.state.place, self._score(row)
        if score is None or "rolled_back" in row or score <= place.best_accuracy:
            return
        place.best_accuracy, place.best_epoch = score, place.epoch
        self._keep("best")

    def _refresh_statistics(self, average: nn.Module) -> None:
        split = self.dataset.train
        # Whole batches, as in training: update_bn weighs all alike, and batch norm refuses a single image.
        count = len(split) // self.recipe.batch_size * self.recipe.batch_size
        order = torch.arange(count, device=split.labels.device)

        def images() -> Iterator[Tensor]:
            for batch, _ in batches(split, order, self.recipe.batch_size, self.device):
                yield to_float(batch)

        update_bn(images(), average)

    def _keep(self, which: str) -> None:
        if self.accelerator.is_main_process:
            values = {
                "shape": list(self.dataset.train.shape),
                "classes": list(self.dataset.classes),
                "epoch": self.state.place.epoch,
            }
            save_checkpoint(self.directory.weights(which), dict(self.kept.state_dict()), values)

    def _row_of_last_weights(self) -> dict[str, Any]:
        """The last epoch's, or that of the sound weights which a roll-back at its end has put back."""
        last = self.rows[-1]
        if "rolled_back" not in last:
            return last
        probed = [row for row in self.rows if "robust_train_accuracy" in row]
        return next(row for row in reversed(probed) if "collapsed" not in row)

    def finish(self) -> dict[str, Any]:
        """Test the last weights, and write the summary."""
        self._keep("last")  # anew: the file may have been damaged since its epoch
        place, test, last = self.state.place, self.dataset.test, self._row_of_last_weights()
        best = self.rows[place.best_epoch - 1]
        summary = {
            "epochs": place.epoch,
            "stopped_early": place.stopped,
            "validation_accuracy": last["validation_accuracy"],
            "validation_images": len(self.dataset.validation),
            "best_validation_accuracy": best["validation_accuracy"],
            "best_epoch": place.best_epoch,
            "train_accuracy": last["train_accuracy"],
            "test_accuracy": count_correct(self.kept, test, self.device) / len(test),
            "test_images": len(test),
            **place.spent,
            "seconds": place.seconds,
        }
        robust = ("robust_train_accuracy", "robust_validation_accuracy")
        summary |= {name: last[name] for name in robust if name in last}
        probe = self.recipe.probe
        if probe is not None:
            summary |= probe.counts(self.dataset.train, self.dataset.validation)
        if probe is not None and probe.select:
            summary["best_robust_validation_accuracy"] = place.best_accuracy
        collapses = [row["epoch"] for row in self.rows if row.get("collapsed")]
        if collapses:
            summary["collapsed_epochs"] = collapses
        if self.accelerator.is_main_process:
            self.directory.write_summary(summary)
        return summary
