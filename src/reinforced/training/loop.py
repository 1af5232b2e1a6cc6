"""The training loop: a recipe's phases, epoch by epoch, into a run directory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from reinforced.data import Dataset, augment, load, place, to_float
from reinforced.errors import Interrupted, ReinforcedError
from reinforced.files import write_json
from reinforced.models import build
from reinforced.streams import Stream
from reinforced.training.checkpoint import save_checkpoint
from reinforced.training.device import keep_freed_memory, resolve_precision
from reinforced.training.environment import environment
from reinforced.training.interrupt import StopRequest, stop_requests
from reinforced.training.loader import batches, count_correct
from reinforced.training.progress import Reporter, Silent
from reinforced.training.recipe import Phase, Recipe
from reinforced.training.run import RunDirectory
from reinforced.training.state import Place, State
from reinforced.training.step import update

SAVE_SECONDS = 600.0  # within an epoch, so that long epochs lose little to a crash
CHECK_BATCHES = 50  # on a GPU, how often to wait for the finite flags; the update was skipped all the same


def train(
    recipe: Recipe,
    run: Path,
    *,
    device: torch.device,
    data_root: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run directory, going on where an earlier process stopped.

    Args:
        recipe: what to train.
        run: the run directory; made if new, continued if it holds the same recipe.
        device: where to compute.
        data_root: folder of data sets, see :func:`reinforced.data.load`.
        reporter: told of progress.

    Returns:
        The summary that ``summary.json`` holds.

    Raises:
        ReinforcedError: bad data or settings, a directory in use or of another run, a non-finite loss.
        Interrupted: a signal asked to stop; the state is saved.
    """
    directory = RunDirectory(run)
    reporter = reporter or Silent()
    if device.type == "cpu":
        keep_freed_memory()
    accelerator = _accelerator(device)
    if not accelerator.is_main_process:
        return _train(recipe, directory, device, data_root, Silent(), accelerator)
    with directory.locked():
        directory.prepare(recipe)
        return _train(recipe, directory, device, data_root, reporter, accelerator)


def _train(
    recipe: Recipe,
    directory: RunDirectory,
    device: torch.device,
    data_root: Path | None,
    reporter: Reporter,
    accelerator: Accelerator,
) -> dict[str, Any]:
    finished = directory.summary()
    if finished is not None:
        return finished
    settings = recipe.data
    with accelerator.main_process_first():  # it alone downloads, into a directory that it has prepared
        dataset = load(
            settings.source,
            size=settings.size,
            root=data_root,
            validation=settings.validation,
            limit=settings.limit,
            progress=accelerator.is_main_process,
        )
    training = Training(recipe, directory, place(dataset, device), device, reporter, accelerator)
    with stop_requests() as stop:
        return training.run(stop)


def _accelerator(device: torch.device) -> Accelerator:
    if not torch.distributed.is_initialized():
        # accelerate keeps one state a process; a second run may want another device.
        AcceleratorState._reset_state(reset_partial_state=True)
    # Autocast is ours (step.py): accelerate's would stay on the network when it is evaluated, in float32.
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


@dataclass
class Training:
    """One run in progress."""

    recipe: Recipe
    directory: RunDirectory
    dataset: Dataset
    device: torch.device
    reporter: Reporter
    accelerator: Accelerator

    def __post_init__(self) -> None:
        recipe, world = self.recipe, self.accelerator.num_processes
        if recipe.batch_size % world:
            raise ReinforcedError(f"batch_size {recipe.batch_size} does not divide among {world} processes")
        self.steps = len(self.dataset.train) // recipe.batch_size
        if self.steps == 0:
            raise ReinforcedError(
                f"batch_size {recipe.batch_size} is larger than the {len(self.dataset.train)} training "
                "images; choose a smaller one"
            )
        rank = self.accelerator.process_index
        torch.manual_seed(recipe.seed)
        network = self._network()
        torch.manual_seed(recipe.seed + rank)  # dropout differs between processes, initial weights do not
        optimizer = recipe.optimizer.build(network.parameters())
        average = recipe.averaging.build(network) if recipe.averaging else None
        self.model, self.optimizer = self.accelerator.prepare(network, optimizer)
        names = ("augmentation", "exploration", "adversary")
        streams = {name: Stream(recipe.seed, name, self.device, rank=rank, world=world) for name in names}
        streams["order"] = Stream(recipe.seed, "order")
        started = Place(self.dataset.sha256, resolve_precision(recipe.precision, self.device))
        self.state = State(network, optimizer, average, streams, started)
        self.rows: list[dict[str, Any]] = []
        if self.directory.state.is_file():
            self.state.load(self.directory.state)
            if self.state.place.data_sha256 != self.dataset.sha256:
                raise ReinforcedError(
                    f"{self.directory.path} was trained on other images than {recipe.data.source} holds now "
                    "(sha256 differs); restore them, or choose another --run DIR"
                )
            if not self.accelerator.is_main_process:
                self.state.sums = {name: torch.zeros_like(value) for name, value in self.state.sums.items()}
            self.rows = self.directory.metrics()[: self.state.place.epoch]
            if len(self.rows) < self.state.place.epoch:
                raise ReinforcedError(
                    f"{self.directory.path / 'metrics.jsonl'} has {len(self.rows)} of "
                    f"{self.state.place.epoch} epochs; restore it, or delete the run directory to start over"
                )

    def _network(self) -> nn.Module:
        model = self.recipe.model
        # A saved state holds the weights; the file or hub they first came from may be gone.
        resuming = self.directory.state.is_file()
        network = build(
            model.name,
            shape=self.dataset.train.shape,
            classes=len(self.dataset.classes),
            pretrained=model.pretrained and not resuming,
            weights=None if resuming else model.weights,
            normalize=model.normalize,
        )
        network = network.to(self.device).to(memory_format=torch.channels_last)
        if self.recipe.compile:
            network.compile()
        return network

    @property
    def kept(self) -> nn.Module:
        """The weights that are evaluated and kept: the average, once something has entered it."""
        average = self.state.average
        if average is None or not average.n_averaged:
            return self.state.network
        module: nn.Module = average.module
        return module

    def run(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end, or to a signal."""
        if self.accelerator.is_main_process and not self.directory.state.is_file():
            record = environment(self.device, self.state.place.precision, self.dataset.sha256)
            write_json(self.directory.path / "environment.json", record)
        place = self.state.place
        batch = self.recipe.batch_size
        done = place.epoch * self.steps + place.batch
        self.reporter.start(self.recipe.epochs * self.steps * batch, done * batch)
        while place.epoch < self.recipe.epochs and not place.stopped:
            phase, first = self._phase()
            self._epoch(phase, first, stop)
            self._close_epoch(phase, first)
        return self._finish()

    def _phase(self) -> tuple[Phase, int]:
        """The phase of the epoch under way, and the epoch it began with."""
        first = 0
        for phase in self.recipe.phases:
            if self.state.place.epoch < first + phase.epochs:
                return phase, first
            first += phase.epochs
        raise AssertionError("called beyond the last epoch")

    def _epoch(self, phase: Phase, first: int, stop: StopRequest) -> None:
        state, place, recipe = self.state, self.state.place, self.recipe
        split = self.dataset.train
        if state.order is None:
            state.order = state.streams["order"].permutation(len(split))
        self.model.train()
        local = recipe.batch_size // self.accelerator.num_processes
        began = saved = time.monotonic()
        earlier = place.epoch_seconds
        unchecked: list[tuple[int, Tensor]] = []
        for images, labels in batches(split, self._mine(local), local, self.device):
            pixels = to_float(augment(images, recipe.data.augment, state.streams["augmentation"]))
            lr = self._set_rate(phase, (place.epoch - first) * self.steps + place.batch)
            done = update(
                self.model,
                pixels,
                labels,
                phase,
                optimizer=self.optimizer,
                accelerator=self.accelerator,
                exploration=state.streams["exploration"],
                adversary=state.streams["adversary"],
                gradient_clip=recipe.gradient_clip,
                precision=place.precision,
            )
            unchecked.append((place.batch, done.finite))
            place.batch += 1
            if self.device.type == "cpu" or len(unchecked) >= CHECK_BATCHES or place.batch == self.steps:
                self._require_finite(unchecked, lr)
            self._accumulate(done.sums)
            self._average(epoch_end=False)
            place.passes += done.passes * recipe.batch_size
            place.epoch_seconds = earlier + time.monotonic() - began
            self.reporter.advance(recipe.batch_size)
            overdue = time.monotonic() - saved > SAVE_SECONDS
            stopping, saving = self._agreed(stop.signal is not None, overdue)
            if stopping or saving:
                self._require_finite(unchecked, lr)
            if stopping:
                self._save()
                raise Interrupted(
                    f"stopped in epoch {place.epoch + 1} of {recipe.epochs}; everything is saved: go on with "
                    f"`reinforced train --resume {self.directory.path}`",
                    128 + (stop.signal or 0),
                )
            if saving:
                self._save()
                saved = time.monotonic()

    def _mine(self, local: int) -> Tensor:
        """This process's rows of the epoch's remaining batches, in order."""
        assert self.state.order is not None
        rows = self.state.order[: self.steps * self.recipe.batch_size].view(self.steps, -1)
        rank = self.accelerator.process_index
        mine = rows[self.state.place.batch :, rank * local : (rank + 1) * local]
        return mine.reshape(-1).to(self.dataset.train.labels.device)

    def _set_rate(self, phase: Phase, step: int) -> float:
        base = phase.lr if phase.lr is not None else self.recipe.optimizer.lr
        rate = base * phase.schedule.factor(step, phase.epochs * self.steps, self.steps)
        for group in self.state.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _require_finite(self, unchecked: list[tuple[int, Tensor]], lr: float) -> None:
        for batch, finite in unchecked:
            if not bool(finite):
                assert self.state.order is not None
                size = self.recipe.batch_size
                rows = self.state.order[batch * size : batch * size + 3].tolist()
                good = self.directory.state
                saved = f"last good state is in {good.parent}" if good.exists() else "nothing is saved yet"
                raise ReinforcedError(
                    f"loss or gradient is not finite in epoch {self.state.place.epoch + 1}, batch {batch + 1}"
                    f" of {self.steps} (training images {', '.join(map(str, rows))}, ...), before its update;"
                    f" {saved}; try a lower learning rate than {lr:g} or gradient_clip=1"
                )
        unchecked.clear()

    def _accumulate(self, sums: Mapping[str, Tensor]) -> None:
        for name, value in sums.items():
            sofar = self.state.sums.get(name)
            self.state.sums[name] = value.float() if sofar is None else sofar + value

    def _average(self, *, epoch_end: bool) -> None:
        averaging, average = self.recipe.averaging, self.state.average
        if averaging is None or average is None:
            return
        if averaging.takes(self.state.place.epoch, self.recipe.epochs, epoch_end=epoch_end):
            average.update_parameters(self.state.network)

    def _agreed(self, *wishes: bool) -> list[bool]:
        """Each wish, granted in every process as soon as one has it."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        votes = torch.tensor(wishes, dtype=torch.float32, device=self.device)
        granted: list[bool] = (self.accelerator.reduce(votes, reduction="sum") > 0).tolist()
        return granted

    def _close_epoch(self, phase: Phase, first: int) -> None:
        """Validate, log, keep the best weights, and save: last the state file, which resuming reads."""
        state, place, recipe = self.state, self.state.place, self.recipe
        self._average(epoch_end=True)
        if recipe.averaging is not None and recipe.averaging.kind == "swa" and self.kept is not state.network:
            self._refresh_statistics(self.kept)
        validation = self.dataset.validation
        accuracy = count_correct(self.kept, validation, self.device) / len(validation)
        images = self.steps * recipe.batch_size
        names = sorted(state.sums)
        sums = torch.stack([state.sums[name] for name in names])
        means = dict(
            zip(names, (self.accelerator.reduce(sums, reduction="sum") / images).tolist(), strict=True)
        )
        place.seconds += place.epoch_seconds
        row = {
            "epoch": place.epoch + 1,
            "objective": phase.objective.kind,
            "adversary": phase.adversary.kind,
            "lr": self._set_rate(phase, (place.epoch - first + 1) * self.steps - 1),
            "train_accuracy": means.pop("accuracy"),
            "validation_accuracy": accuracy,
            **means,
            "images_per_second": images / place.epoch_seconds,
            "passes": place.passes,
            "seconds": place.seconds,
        }
        self.rows.append(row)
        place.epoch, place.batch, place.epoch_seconds = place.epoch + 1, 0, 0.0
        state.order, state.sums = None, {}
        if accuracy > place.best_accuracy:
            place.best_accuracy, place.best_epoch = accuracy, place.epoch
            self._keep("best")
        stopping = recipe.early_stopping
        place.stopped = stopping is not None and place.epoch - place.best_epoch >= stopping.patience
        if self.accelerator.is_main_process:
            self.directory.write_metrics(self.rows)
        self._keep("last")
        self._save()
        self.reporter.epoch(row, recipe.epochs)

    def _refresh_statistics(self, average: nn.Module) -> None:
        split = self.dataset.train
        order = torch.arange(len(split), device=split.labels.device)

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

    def _save(self) -> None:
        """Every process takes part: the main one collects the sums so far of all."""
        if self.accelerator.num_processes > 1:
            for name, value in self.state.sums.items():
                total = self.accelerator.reduce(value, reduction="sum")
                self.state.sums[name] = total if self.accelerator.is_main_process else torch.zeros_like(total)
        if self.accelerator.is_main_process:
            self.state.save(self.directory.state)

    def _finish(self) -> dict[str, Any]:
        place, test = self.state.place, self.dataset.test
        summary = {
            "epochs": place.epoch,
            "stopped_early": place.stopped,
            "validation_accuracy": self.rows[-1]["validation_accuracy"],
            "best_validation_accuracy": place.best_accuracy,
            "best_epoch": place.best_epoch,
            "train_accuracy": self.rows[-1]["train_accuracy"],
            "test_accuracy": count_correct(self.kept, test, self.device) / len(test),
            "test_images": len(test),
            "passes": place.passes,
            "seconds": place.seconds,
        }
        if self.accelerator.is_main_process:
            self.directory.write_summary(summary)
        return summary
