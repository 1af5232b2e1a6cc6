"""The training loop: a recipe's phases, epoch by epoch, into a run directory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reinforced.allocator import keep_freed_memory
from reinforced.data import Dataset, augment, load, place, to_float
from reinforced.errors import Interrupted, ReinforcedError
from reinforced.models import build, channels_last
from reinforced.streams import Stream
from reinforced.training.device import resolve_device, resolve_precision
from reinforced.training.environment import environment
from reinforced.training.epoch_end import Books
from reinforced.training.flops import CountFlops
from reinforced.training.interrupt import StopRequest, stop_requests
from reinforced.training.loader import batches
from reinforced.training.plan import Stretch, plan
from reinforced.training.progress import Reporter, Silent
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory
from reinforced.training.state import Place, State
from reinforced.training.step import Stepper, trainee_of
from reinforced.training.trackers import Tracking, tracked

SAVE_SECONDS = 600.0  # within an epoch, so that long epochs lose little to a crash
CHECK_BATCHES = 50  # on a GPU, how often to wait for the finite flags; the update was skipped all the same


def train(
    recipe: Recipe,
    run: Path,
    *,
    device: torch.device,
    data_root: Path | None = None,
    reporter: Reporter | None = None,
    tracking: Tracking | None = None,
) -> dict[str, Any]:
    """Train a recipe into a run directory, going on where an earlier process stopped.

    Args:
        recipe: what to train.
        run: the run directory; made if new, continued if it holds the same recipe.
        device: where to compute.
        data_root: folder of data sets, see :func:`reinforced.data.load`.
        reporter: told of progress.
        tracking: the trackers that are told of each epoch too.

    Returns:
        The summary that ``summary.json`` holds.

    Raises:
        ReinforcedError: bad data or settings, a directory in use or of another run, a non-finite loss, a
            tracker that cannot be written.
        Interrupted: a signal asked to stop; the state is saved.
    """
    directory, device = RunDirectory(run), resolve_device(str(device))
    reporter = reporter or Silent()
    if device.type == "cpu":
        keep_freed_memory()
    accelerator = _accelerator(device)
    if not accelerator.is_main_process:
        return _train(recipe, directory, device, data_root, Silent(), accelerator)
    with directory.locked():
        made = directory.prepare(recipe)
        try:
            with tracked(reporter, directory, tracking) as told:
                return _train(recipe, directory, device, data_root, told, accelerator)
        except BaseException:
            if made:
                directory.forget_unbegun()
            raise


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
    if not len(dataset.validation):
        raise ReinforcedError(
            f"data.validation={settings.validation:g} holds no image of {dataset.name} out: give a larger "
            "fraction; training watches and chooses by these"
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
        if world > 1 and any(phase.adversary.kind == "free" for phase in recipe.phases):
            raise ReinforcedError("adversary free keeps a perturbation a process; train it in one process")
        self.plan = plan(recipe, len(self.dataset.train))
        rank = self.accelerator.process_index
        torch.manual_seed(recipe.seed)
        network = self._network()
        normed = any(isinstance(module, _BatchNorm) for module in network.modules())
        if normed and recipe.batch_size == world:
            raise ReinforcedError(
                f"batch_size {recipe.batch_size} leaves batch norm a single image; give {2 * world} or more"
            )
        torch.manual_seed(recipe.seed + rank)  # dropout differs between processes, initial weights do not
        optimizer = recipe.optimizer.build(network.parameters())
        average = recipe.averaging.build(network) if recipe.averaging else None
        self.model, self.optimizer = self.accelerator.prepare(network, optimizer)
        names = ("augmentation", "exploration", "adversary", "regulariser")
        streams = {name: Stream(recipe.seed, name, self.device, rank=rank, world=world) for name in names}
        streams["order"] = Stream(recipe.seed, "order")
        started = Place(self.dataset.sha256, resolve_precision(recipe.precision, self.device))
        self.state = State(network, optimizer, average, streams, started)
        if self.directory.state.is_file():
            self._resume()
        self.books = Books(
            recipe,
            self.plan,
            self.directory,
            self.dataset,
            self.device,
            self.accelerator,
            self.state,
            self.reporter,
        )
        self.books.reopen()

    def _resume(self) -> None:
        self.state.load(self.directory.state, self.accelerator.process_index)
        if self.state.place.data_sha256 != self.dataset.sha256:
            raise ReinforcedError(
                f"{self.directory.path} was trained on other images than {self.recipe.data.source} holds now "
                "(sha256 differs); restore them, or choose another --run DIR"
            )
        if not self.accelerator.is_main_process:
            self.state.sums = {name: torch.zeros_like(value) for name, value in self.state.sums.items()}

    def _network(self) -> nn.Module:
        model = self.recipe.model
        # A saved state holds the weights; the file or hub they first came from may be gone.
        resuming = self.directory.state.is_file()
        shape, classes = self.dataset.train.shape, len(self.dataset.classes)
        network = build(
            model.name,
            shape=shape,
            classes=classes,
            pretrained=model.pretrained and not resuming,
            weights=None if resuming else model.weights,
            normalize=model.normalize,
        )
        network = channels_last(network, shape, classes).to(self.device)
        if self.recipe.compile:
            network.compile()
        return network

    def run(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end, or to a signal."""
        if self.accelerator.is_main_process and not self.directory.state.is_file():
            record = environment(self.device, self.state.place.precision, self.dataset.sha256)
            self.directory.write_environment(record)
        place = self.state.place
        batch = self.recipe.batch_size
        done = self.plan.steps_before(place.epoch) + place.batch if place.epoch < self.plan.epochs else 0
        self.reporter.start(self.plan.steps * batch, done * batch)
        while place.epoch < self.plan.epochs and not place.stopped:
            stretch = self.plan.at(place.epoch)
            self._epoch(stretch, stop)
            self._average(epoch_end=True)
            lr = self._set_rate(stretch, stretch.within(place.epoch, stretch.batches(place.epoch) - 1))
            self.books.close(stretch, lr, self._save)
        return self.books.finish()

    def _epoch(self, stretch: Stretch, stop: StopRequest) -> None:
        state, place, recipe, phase = self.state, self.state.place, self.recipe, stretch.phase
        split, count = self.dataset.train, stretch.batches(place.epoch)
        if state.order is None:
            state.order = state.streams["order"].permutation(len(split))
        self.model.train()
        stepper = Stepper(
            trainee_of(self.model, self.accelerator, place.precision),
            phase,
            self.optimizer,
            self.accelerator,
            state.streams,
            state.memory,
            recipe.gradient_clip,
        )
        local = recipe.batch_size // self.accelerator.num_processes
        began = saved = time.monotonic()
        earlier = place.epoch_seconds
        unchecked: list[tuple[int, Tensor]] = []
        for images, labels in batches(split, self._mine(local, count), local, self.device):
            pixels = to_float(augment(images, recipe.data.augment, state.streams["augmentation"]))
            taken = stretch.within(place.epoch, place.batch)
            lr = self._set_rate(stretch, taken)
            objective = phase.objective.at(taken / stretch.steps)
            with self._counting(stretch):
                done = stepper.step(pixels, labels, objective)
            unchecked.append((place.batch, done.finite))
            place.batch += 1
            if self.device.type == "cpu" or len(unchecked) >= CHECK_BATCHES or place.batch == count:
                self._require_finite(unchecked, lr)
            self._accumulate(done.sums)
            self._average(epoch_end=False)
            place.spend(phase.passes * recipe.batch_size, place.step_flops[str(stretch.index)])
            place.epoch_seconds = earlier + time.monotonic() - began
            self.reporter.advance(recipe.batch_size)
            overdue = time.monotonic() - saved > SAVE_SECONDS
            stopping, saving = self._agreed(stop.signal is not None, overdue)
            if stopping or saving:
                self._require_finite(unchecked, lr)
            if stopping:
                self._save()
                raise Interrupted(
                    f"stopped in epoch {place.epoch + 1} of {self.plan.epochs}; everything is saved: go on "
                    f"with `reinforced train --resume {self.directory.path}`",
                    128 + (stop.signal or 0),
                )
            if saving:
                self._save()
                saved = time.monotonic()

    @contextmanager
    def _counting(self, stretch: Stretch) -> Iterator[None]:
        """Count the operations of a phase's first step, on this process's share of its batch."""
        known, phase = self.state.place.step_flops, str(stretch.index)
        if phase in known:
            yield
            return
        # Compiled code hides its operations; without it they are the same.
        with torch.compiler.set_stance("force_eager"), CountFlops() as counter:
            yield
        known[phase] = float(counter.total * self.accelerator.num_processes)

    def _mine(self, local: int, count: int) -> Tensor:
        """This process's rows of the epoch's remaining batches, in order."""
        assert self.state.order is not None
        rows = self.state.order[: count * self.recipe.batch_size].view(count, -1)
        rank = self.accelerator.process_index
        mine = rows[self.state.place.batch :, rank * local : (rank + 1) * local]
        return mine.reshape(-1).to(self.dataset.train.labels.device)

    def _set_rate(self, stretch: Stretch, step: int) -> float:
        phase = stretch.phase
        base = phase.lr if phase.lr is not None else self.recipe.optimizer.lr
        rate = base * phase.schedule.factor(step, stretch.steps, stretch.epoch_steps)
        for group in self.state.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _require_finite(self, unchecked: list[tuple[int, Tensor]], lr: float) -> None:
        for batch, finite in unchecked:
            if not bool(finite):
                assert self.state.order is not None
                epoch = self.state.place.epoch
                batches = self.plan.at(epoch).batches(epoch)
                size = self.recipe.batch_size
                rows = self.state.order[batch * size : batch * size + 3].tolist()
                good = self.directory.state
                saved = f"last good state is in {good.parent}" if good.exists() else "nothing is saved yet"
                raise ReinforcedError(
                    f"loss or gradient is not finite in epoch {self.state.place.epoch + 1}, batch {batch + 1}"
                    f" of {batches} (training images {', '.join(map(str, rows))}, ...), before its update;"
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
        if averaging.takes(self.state.place.epoch, self.plan.epochs, epoch_end=epoch_end):
            average.update_parameters(self.state.network)

    def _agreed(self, *wishes: bool) -> list[bool]:
        """Each wish, granted in every process as soon as one has it."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        votes = torch.tensor(wishes, dtype=torch.float32, device=self.device)
        granted: list[bool] = (self.accelerator.reduce(votes, reduction="sum") > 0).tolist()
        return granted

    def _save(self) -> None:
        """Every process takes part: the main one collects the sums so far of all, and what each has alone."""
        others: dict[str, Tensor] = {}
        if self.accelerator.num_processes > 1:
            for name, value in self.state.own().items():
                every = self.accelerator.gather(value.to(self.device).unsqueeze(0))
                others |= {f"{rank}.{name}": one for rank, one in enumerate(every) if rank}
            for name, value in self.state.sums.items():
                total = self.accelerator.reduce(value, reduction="sum")
                self.state.sums[name] = total if self.accelerator.is_main_process else torch.zeros_like(total)
        if self.accelerator.is_main_process:
            self.state.save(self.directory.state, others)
