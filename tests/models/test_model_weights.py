"""Weights from files: every accepted form gives the same logits, every bad file one line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reinforced.errors import ReinforcedError
from reinforced.models import Classifier, build, load_weights

SHAPE = (1, 8, 8)
State = dict[str, Tensor]


def fresh(**changes: Any) -> nn.Module:
    return build(**{"name": "cnn6_small", "shape": SHAPE, "classes": 10, "normalize": "digits", **changes})


def bare(model: nn.Module) -> State:
    return {k.removeprefix("network."): v for k, v in model.state_dict().items() if k not in ("mean", "std")}


def prefixed(prefix: str) -> Callable[[nn.Module], State]:
    return lambda model: {prefix + name: value for name, value in model.state_dict().items()}


FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "ours": lambda model: model.state_dict(),
    "bare": bare,
    "data parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "compiled inside": lambda model: {f"network._orig_mod.{k}": v for k, v in bare(model).items()},
    "state_dict": lambda model: {"state_dict": bare(model), "epoch": 3},
    "model": lambda model: {"model": model.state_dict()},
    "net": lambda model: {"net": prefixed("module.")(model), "acc": 0.9},
    "no counters": lambda model: {k: v for k, v in bare(model).items() if "num_batches" not in k},
    "half": lambda model: {k: v.half() if v.is_floating_point() else v for k, v in bare(model).items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_logits(form: str, tmp_path: Path) -> None:
    source, x = fresh().eval(), torch.rand(4, *SHAPE)
    torch.save(FORMS[form](source), tmp_path / "w.pth")
    loaded = fresh(weights=tmp_path / "w.pth").eval()
    torch.testing.assert_close(loaded(x), source(x), atol=0.02 if form == "half" else 0, rtol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_statistics_of_another_precision_are_the_same(kind: torch.dtype, tmp_path: Path) -> None:
    source = fresh()
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    torch.testing.assert_close(
        fresh(weights=tmp_path / "w.pth").state_dict()["mean"], source.state_dict()["mean"]
    )
    with pytest.raises(ReinforcedError, match="build with normalize='digits'"):
        fresh(weights=tmp_path / "w.pth", normalize="none")


def test_safetensors_round_trip(tmp_path: Path) -> None:
    source, x = fresh().eval(), torch.rand(4, *SHAPE)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = fresh(weights=str(tmp_path / "w.safetensors")).eval()
    assert torch.equal(loaded(x), source(x))


@pytest.mark.parametrize("inner", ["network", "module", "mean"])
def test_a_users_own_submodule_may_be_called_like_a_prefix(inner: str, tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(inner, nn.Linear(3, 2))

    for source, target in ((Net(), Net()), (nn.Sequential(Net()), nn.Sequential(Net()))):
        torch.save(source.state_dict(), tmp_path / "w.pt")
        load_weights(target, tmp_path / "w.pt")
        for key, value in source.state_dict().items():
            assert torch.equal(target.state_dict()[key], value)


def changed(key: str, value: Tensor | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        state = bare(fresh())
        if value is None:
            del state[key]
        else:
            state[key] = value
        torch.save(state, folder / "w.pth")
        return folder / "w.pth"

    return make


def saved(value: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.save(value, folder / "w.pth")
        return folder / "w.pth"

    return make


def truncated(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path, state = folder / name, bare(fresh())
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-5000])
        return path

    return make


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def normalised_otherwise(folder: Path) -> Path:
    save_file(fresh(normalize="none").state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors"


def near_miss(folder: Path) -> Path:
    (folder / "best.safetensors").touch()
    return folder / "bets.safetensors"


def without_partner(folder: Path) -> Path:
    state = fresh().state_dict()
    del state["std"]
    torch.save(state, folder / "w.pth")
    return folder / "w.pth"


NAN = torch.full((24,), float("nan"))
ERRORS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none.pth", "no weights file .*none.pth$"),
    (near_miss, "did you mean 'best.safetensors'"),
    (lambda folder: folder, r"is no weights file; give one that ends in \.safetensors"),
    (lambda folder: folder / "w.h5", "is no weights file"),
    (truncated("w.pth"), "truncated or damaged"),
    (truncated("w.safetensors"), "truncated or damaged"),
    (written("w.pth", b""), "truncated or damaged"),
    (written("w.safetensors", b""), "truncated or damaged"),
    (written("w.pth", b"<html>not found</html>"), "damaged"),
    (written("w.pt", pickle.dumps(Path)), "holds pickled code; re-save as safetensors"),
    (saved(nn.Linear(2, 2)), "holds pickled code; re-save as safetensors"),
    (saved(torch.zeros(3)), "holds a Tensor, not weights by name"),
    (saved({}), "holds nothing"),
    (saved({"epoch": 3}), "epoch is a int, not a tensor"),
    (changed("0.weight", None), r"1 tensors missing \(first '0.weight'\)"),
    (changed("extra", torch.zeros(1)), r"1 tensors unexpected \(first 'extra'\)"),
    (changed("0.weight", torch.zeros(24, 3, 3, 3)), r"0.weight is \(24, 3, 3, 3\) .* \(24, 1, 3, 3\)"),
    (changed("1.bias", NAN), "1.bias holds NaN or infinite weights"),
    (normalised_otherwise, "the model has 0.3053 and 0.3759; build with normalize='none'"),
    (without_partner, "without its partner"),
]


@pytest.mark.parametrize(("make", "message"), ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_a_bad_file_is_refused_in_one_line_and_changes_nothing(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    model = fresh()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ReinforcedError, match=message) as caught:
        load_weights(model, make(tmp_path))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    torch.save(fresh(classes=100).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ReinforcedError, match=r"\(100, 96\) .* \(10, 96\) .*build with classes=100"):
        fresh(weights=tmp_path / "w.pth")


def test_normalisation_that_a_bare_module_lacks_is_refused(tmp_path: Path) -> None:
    torch.save(fresh().state_dict(), tmp_path / "w.pth")
    network = fresh().network
    assert isinstance(network, nn.Module)
    with pytest.raises(ReinforcedError, match="build with normalize='digits'"):
        load_weights(network, tmp_path / "w.pth")


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"0.weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(ReinforcedError, match="holds pickled code"):
        load_weights(fresh(), tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("last", ["fc2", "classifier"])
@pytest.mark.parametrize("name", ["cnn6", "alicnn"])
def test_the_released_layer_names_load(name: str, last: str, tmp_path: Path) -> None:
    """Zou et al.'s released state dicts: bare names, no normalisation, RL's last layer named otherwise."""
    source = build(name, shape=(3, 32, 32), classes=10)
    assert isinstance(source, Classifier)
    assert isinstance(source.network, nn.Module)
    released = {key.replace("fc2", last): value for key, value in source.network.state_dict().items()}
    assert {"conv1.weight", "conv4.bias", f"{last}.weight"} <= released.keys()
    torch.save(released, tmp_path / "best.pth")
    model = build(name, shape=(3, 32, 32), classes=10, weights=tmp_path / "best.pth", normalize="cifar10")
    images = torch.rand(2, 3, 32, 32)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(model.eval()(images), source.eval()(normalised), atol=1e-5)
