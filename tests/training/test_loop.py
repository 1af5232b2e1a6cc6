"""What a run computes: passes, accuracies, averages, rates, precision, the same bytes from the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.data import Dataset, Split, load, to_float
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.streams import Stream
from reinforced.training import loop
from reinforced.training.checkpoint import load_checkpoint, weights_hash
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory, load_model

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
Figures = Callable[[Path], list[dict[str, Any]]]


def last(run: Path) -> str:
    return weights_hash(RunDirectory(run).weights("last"))


def weights(run: Path, which: str = "last") -> dict[str, Tensor]:
    return load_checkpoint(RunDirectory(run).weights(which))[0]


def untrained(recipe: Recipe) -> nn.Module:
    torch.manual_seed(recipe.seed)
    return build(recipe.model.name, shape=(1, 8, 8), classes=10)


def orders(recipe: Recipe, epochs: int) -> list[Tensor]:
    """Each epoch's batches of row numbers."""
    assert recipe.data.limit is not None
    stream, size = Stream(recipe.seed, "order"), recipe.batch_size
    steps = recipe.data.limit // size
    return [stream.permutation(recipe.data.limit)[: steps * size].view(steps, size) for _ in range(epochs)]


def epochs_written_out(recipe: Recipe) -> list[list[dict[str, Tensor]]]:
    """Cross-entropy training as a bare loop: the network after every update, a list an epoch."""
    split = load("digits", limit=recipe.data.limit).train
    model = untrained(recipe).to(memory_format=torch.channels_last)
    optimizer = recipe.optimizer.build(model.parameters())
    history: list[list[dict[str, Tensor]]] = []
    for order in orders(recipe, recipe.epochs):
        history.append([])
        for rows in order:
            images, labels = split.batch(rows)
            loss = nn.functional.cross_entropy(model(to_float(images)), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            history[-1].append({name: value.clone() for name, value in model.state_dict().items()})
    return history


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(found[name].double(), value.double(), rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("name", ["user_networks:linear", "user_networks:noisy", "tiny"])
def test_same_seed_same_bytes(make: Make, fit: Fit, figures: Figures, tmp_path: Path, name: str) -> None:
    objective = {"kind": "reinforce", "exploration": 0.2}
    recipe = make(model={"name": name}, phases=[{"epochs": 2, "objective": objective}])
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(recipe.model_copy(update={"seed": seed}), tmp_path / run)
        torch.rand(3)
    assert last(tmp_path / "a") == last(tmp_path / "b")
    assert figures(tmp_path / "a") == figures(tmp_path / "b")
    assert last(tmp_path / "a") != last(tmp_path / "c")


def test_is_the_loop_written_out(make: Make, fit: Fit, tmp_path: Path) -> None:
    recipe = make(model={"name": "tiny"}, optimizer={"kind": "adamw"})
    fit(recipe, tmp_path / "run")
    assert_near(weights(tmp_path / "run"), epochs_written_out(recipe)[-1][-1])


def test_accuracies_are_those_of_the_kept_weights(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    recipe = make(model={"name": "user_networks:noisy"}, phases=[{"epochs": 5}])
    summary = fit(recipe, tmp_path / "run")
    data = load("digits", limit=96)

    def accuracy(which: str, split: Split) -> float:
        images, labels = split.batch(torch.arange(len(split)))
        with torch.no_grad():
            logits = load_model(tmp_path / "run", which=which)(to_float(images))
        return float((logits.argmax(1) == labels).double().mean())

    validation = [row["validation_accuracy"] for row in figures(tmp_path / "run")]
    assert summary["test_accuracy"] == pytest.approx(accuracy("last", data.test), abs=1e-12)
    assert summary["validation_accuracy"] == validation[-1]
    assert validation[-1] == pytest.approx(accuracy("last", data.validation), abs=1e-12)
    assert summary["best_validation_accuracy"] == max(validation)
    assert max(validation) == pytest.approx(accuracy("best", data.validation), abs=1e-12)
    assert summary["best_epoch"] == validation.index(max(validation)) + 1
    assert summary["test_images"] == 300
    assert (
        load_checkpoint(RunDirectory(tmp_path / "run").weights("best"))[1]["epoch"] == summary["best_epoch"]
    )


def test_training_metrics_are_means_over_the_images(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    """At a rate too small to change a weight, an epoch's means are those of the untrained network."""
    recipe = make(optimizer={"kind": "sgd", "lr": 1e-30}, phases=[{"epochs": 1}])
    fit(recipe, tmp_path / "run")
    split, model = load("digits", limit=96).train, untrained(recipe)
    images, labels = split.batch(torch.arange(96))
    logits = model(to_float(images)).detach()
    (row,) = figures(tmp_path / "run")
    assert row["train_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert row["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    norms = []
    for rows in orders(recipe, 1)[0]:
        loss = nn.functional.cross_entropy(model(to_float(images[rows])), labels[rows])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    assert row["gradient_norm"] == pytest.approx(sum(norms) / 3, rel=1e-5)


def test_passes_are_counted(make: Make, fit: Fit, figures: Figures, tmp_path: Path) -> None:
    """Clean: forward and full backward. FGSM: 1 to craft on the clean view's forward, 3 on each view."""
    phases = [
        {"epochs": 1},
        {"epochs": 1, "adversary": {"kind": "fgsm"}},
        {"epochs": 1, "objective": {"kind": "ppo", "updates": 3}, "adversary": {"kind": "fast"}},
        {"epochs": 1, "regularisers": [{"kind": "jacobian", "projections": 2}]},
    ]
    recipe = make(phases=phases)
    summary = fit(recipe, tmp_path / "run")
    parts = ("forward_passes", "backward_passes", "crafting_passes", "regulariser_passes")
    added = recipe.phases[3].regularisers[0].passes
    spent = [[row[part] / 96 for part in parts] for row in figures(tmp_path / "run")]
    assert spent == [[1, 2, 0, 0], [3, 6, 1, 0], [6, 12, 3, 0], [7, 14, 3, added]]
    assert [row["passes"] / 96 for row in figures(tmp_path / "run")] == [3, 10, 21, 24 + added]
    assert summary["passes"] == (24 + added) * 96
    assert [summary[part] for part in parts] == [96 * each for each in spent[-1]]


@pytest.mark.parametrize("adversary", ["none", "fgsm", "pgd"])
def test_accuracies_are_named_after_the_images_they_are_of(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path, adversary: str
) -> None:
    """Where no clean image is trained on, ``train_accuracy`` is measured on as many as validation has."""
    recipe = make(
        model={"name": "user_networks:noisy"},
        optimizer={"kind": "sgd", "lr": 1e-30},
        phases=[{"epochs": 1, "adversary": {"kind": adversary}}],
    )
    fit(recipe, tmp_path / "run")
    (row,) = figures(tmp_path / "run")
    assert ("crafted_accuracy" in row) == (adversary != "none")
    assert "accuracy" not in row
    if adversary == "pgd":
        data = load("digits", limit=96)
        images, labels = data.train.batch(torch.arange(min(len(data.validation), 96)))
        right = load_model(tmp_path / "run")(to_float(images)).argmax(1) == labels
        assert row["train_accuracy"] == pytest.approx(float(right.double().mean()), abs=1e-12)


def test_an_interpolation_passes_over_as_its_phase_goes_on(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    """Three updates an epoch: the weight is the share of the phase's updates that lie behind."""
    objective = {
        "kind": "interpolation",
        "first": {"kind": "cross_entropy"},
        "second": {"kind": "expected_pg"},
    }
    phases = [{"epochs": 1}, {"epochs": 2, "objective": objective}, {"epochs": 1, "objective": objective}]
    fit(make(phases=phases), tmp_path / "run")
    weights = [row.get("second_weight") for row in figures(tmp_path / "run")]
    assert weights[0] is None
    assert weights[1:] == pytest.approx([(0 + 1 + 2) / 18, (3 + 4 + 5) / 18, (0 + 1 + 2) / 9])


def test_each_phase_has_its_objective_and_rate(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    cosine = {"kind": "cosine"}
    phases = [
        {"epochs": 1, "schedule": cosine},
        {"epochs": 2, "objective": {"kind": "expected_pg"}, "lr": 0.5, "schedule": cosine},
    ]
    fit(make(phases=phases), tmp_path / "run")
    rows = figures(tmp_path / "run")
    assert [(row["epoch"], row["objective"]) for row in rows] == [
        (1, "cross_entropy"),
        (2, "expected_pg"),
        (3, "expected_pg"),
    ]
    factors = [phase.schedule.factor for phase in make(phases=phases).phases]
    expected = [0.1 * factors[0](2, 3, 3), 0.5 * factors[1](2, 6, 3), 0.5 * factors[1](5, 6, 3)]
    assert [row["lr"] for row in rows] == pytest.approx(expected)


def test_clipping_bounds_the_update(make: Make, fit: Fit, tmp_path: Path) -> None:
    """Plain SGD at rate 1 moves exactly as far as the clipped gradient is long."""
    recipe = make(
        data={"source": "digits", "limit": 32},
        optimizer={"kind": "sgd", "lr": 1, "momentum": 0, "weight_decay": 0},
        phases=[{"epochs": 1}],
        gradient_clip=0.01,
    )
    fit(recipe, tmp_path / "run")
    before = untrained(recipe).state_dict()
    moved = [(value - before[name]).flatten() for name, value in weights(tmp_path / "run").items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.01, rel=1e-3)


def test_early_stopping(make: Make, fit: Fit, figures: Figures, tmp_path: Path) -> None:
    recipe = make(
        optimizer={"kind": "sgd", "lr": 1e-30}, phases=[{"epochs": 9}], early_stopping={"patience": 2}
    )
    summary = fit(recipe, tmp_path / "run")
    assert len(figures(tmp_path / "run")) == 3
    assert (summary["stopped_early"], summary["epochs"], summary["best_epoch"]) == (True, 3, 1)


def test_ema_is_the_average_by_hand(make: Make, fit: Fit, tmp_path: Path) -> None:
    recipe = make(model={"name": "user_networks:linear"}, averaging={"kind": "ema", "decay": 0.7})
    fit(recipe, tmp_path / "run")
    average: dict[str, Tensor] = {}
    for step in (step for epoch in epochs_written_out(recipe) for step in epoch):
        average = {name: 0.7 * average.get(name, value) + 0.3 * value for name, value in step.items()}
    assert_near(weights(tmp_path / "run"), average)


def swa_by_hand(recipe: Recipe, start: int) -> nn.Module:
    """The mean of epoch-end weights, with batch-norm statistics re-estimated as a plain mean over batches."""
    assert recipe.averaging is not None
    model = untrained(recipe)
    ends = [epoch[-1] for epoch in epochs_written_out(recipe)][start:]
    model.load_state_dict(
        {name: torch.stack([end[name] for end in ends]).float().mean(0) for name in ends[0]}
    )
    means: list[Tensor] = []
    variances: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        means.append(inputs[0].mean((0, 2, 3)))
        variances.append(inputs[0].var((0, 2, 3)))

    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.register_forward_pre_hook(note)
    split = load("digits", limit=recipe.data.limit).train
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(split)), recipe.batch_size):
            model(to_float(split.batch(rows)[0]))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.stack(means).mean(0))
    norm.running_var.copy_(torch.stack(variances).mean(0))
    return model


def test_swa_is_the_mean_with_fresh_statistics(make: Make, fit: Fit, tmp_path: Path) -> None:
    recipe = make(
        model={"name": "user_networks:norm"},
        phases=[{"epochs": 4}],
        averaging={"kind": "swa", "start": 0.5},
    )
    fit(recipe, tmp_path / "run")
    found, expected = weights(tmp_path / "run"), swa_by_hand(recipe, 2).state_dict()
    expected = {name: value for name, value in expected.items() if "num_batches" not in name}
    assert_near({name: found[name] for name in expected}, expected)


def test_swa_takes_its_statistics_from_whole_batches(make: Make, fit: Fit, tmp_path: Path) -> None:
    """One image is left over: batch norm over its features could not even be computed."""
    recipe = make(
        model={"name": "user_networks:norm_of_features"},
        data={"source": "digits", "limit": 97},
        averaging={"kind": "swa", "start": 0.5},
    )
    assert 97 % recipe.batch_size == 1
    assert fit(recipe, tmp_path / "run")["test_accuracy"] > 0.1


def test_nothing_held_out_is_refused_before_training(make: Make, fit: Fit, tmp_path: Path) -> None:
    recipe = make(data={"source": f"folder:{pictured(tmp_path / 'images')}", "validation": 0.01})
    with pytest.raises(ReinforcedError, match=r"data\.validation=0\.01 holds no image of folder:.* out"):
        fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def pictured(folder: Path) -> Path:
    """Two classes of grey squares, ten each."""
    for name, value in (("dark", 40), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for k in range(10):
            (folder / name / f"{k}.pgm").write_bytes(b"P5 8 8 255\n" + bytes([value + k]) * 64)
    return folder


def test_before_swa_begins_the_network_itself_is_evaluated(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    phases = [{"epochs": 4}]
    fit(make(phases=phases), tmp_path / "plain")
    fit(make(phases=phases, averaging={"kind": "swa", "start": 0.9}), tmp_path / "swa")
    assert figures(tmp_path / "swa") == figures(tmp_path / "plain")  # one epoch's mean is that epoch
    assert last(tmp_path / "swa") == last(tmp_path / "plain")


def test_a_memory_map_trains_to_the_same_bytes(
    make: Make, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(model={"name": "user_networks:noisy"}, data={"source": "digits", "limit": 100})
    fit(recipe, tmp_path / "memory")

    def stay(dataset: Dataset, device: object) -> Dataset:
        assert dataset.train.index is not None
        return dataset

    monkeypatch.setattr(loop, "place", stay)
    fit(recipe, tmp_path / "map")
    assert last(tmp_path / "map") == last(tmp_path / "memory")


def test_bf16_runs_and_is_recorded(make: Make, fit: Fit, tmp_path: Path) -> None:
    import json

    for precision in ("float32", "bf16"):
        fit(make(model={"name": "tiny"}, precision=precision), tmp_path / precision)
        record = json.loads((tmp_path / precision / "environment.json").read_text())
        assert record["precision"] == precision
        assert record["data_sha256"] == load("digits").sha256
    assert last(tmp_path / "bf16") != last(tmp_path / "float32")
    assert {value.dtype for value in weights(tmp_path / "bf16").values()} == {torch.float32}


def test_tied_weights_are_saved(make: Make, fit: Fit, tmp_path: Path) -> None:
    fit(make(model={"name": "user_networks:tied"}), tmp_path / "run")
    found = weights(tmp_path / "run")
    assert torch.equal(found["network.first.weight"], found["network.second.weight"])
    load_model(tmp_path / "run")


def test_a_batch_larger_than_the_data(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match="batch_size 97 is larger than the 96 training images"):
        fit(make(batch_size=97), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "updates"), [("user_networks:nan_logits", 4), ("user_networks:nan_gradient", 4)]
)
def test_not_a_number_stops_before_the_update(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path, name: str, updates: int
) -> None:
    """The fifth update, the second of epoch 2, fails; the first epoch's checkpoint stays the last."""
    recipe = make(model={"name": name}, phases=[{"epochs": 3}])
    with pytest.raises(ReinforcedError) as caught:
        fit(recipe, tmp_path / "run")
    rows = ", ".join(map(str, orders(recipe, 2)[1][1][:3].tolist()))
    message = str(caught.value)
    assert f"not finite in epoch 2, batch 2 of 3 (training images {rows}, ...), before its update" in message
    assert "lower learning rate than 0.1" in message
    assert len(figures(tmp_path / "run")) == 1
    assert load_checkpoint(RunDirectory(tmp_path / "run").weights("last"))[1]["epoch"] == 1
    assert RunDirectory(tmp_path / "run").summary() is None
    _, values = load_checkpoint(RunDirectory(tmp_path / "run").state)
    assert values["place"]["epoch"] == 1
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop"])
def test_a_rate_out_of_all_measure(make: Make, fit: Fit, tmp_path: Path, kind: str) -> None:
    recipe = make(model={"name": "tiny"}, optimizer={"kind": kind, "lr": 1e30})
    with pytest.raises(ReinforcedError, match="not finite in epoch 1, batch 2 of 3"):
        fit(recipe, tmp_path / "run")
    assert not RunDirectory(tmp_path / "run").state.exists()


def test_a_run_of_all_its_epochs_has_not_stopped_early(make: Make, fit: Fit, tmp_path: Path) -> None:
    frozen = {"optimizer": {"kind": "sgd", "lr": 1e-9}, "early_stopping": {"patience": 1}}
    phase = {"epochs": 2, "objective": {"kind": "cross_entropy"}}
    assert fit(make(phases=[phase], **frozen), tmp_path / "whole")["stopped_early"] is False
    longer = fit(make(phases=[phase | {"epochs": 3}], **frozen), tmp_path / "longer")
    assert (longer["stopped_early"], longer["epochs"]) == (True, 2)


def test_batch_norm_of_one_image_is_refused(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(
        ReinforcedError, match="batch_size 1 leaves batch norm a single image; give 2 or more"
    ):
        fit(make(batch_size=1, model={"name": "cnn6_small"}), tmp_path / "run")
