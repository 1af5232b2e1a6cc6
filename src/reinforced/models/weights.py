"""Weights from a file into a model, without ever running code from the file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.models.classifier import STATISTICS, Classifier

_SUFFIXES = (".safetensors", ".pth", ".pt")
_NESTS = ("state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "network.")
_STATISTICS = {"mean", "std"}
# How torch's weights-only reader words its refusal of code, as against of a damaged file. Operand 149
# opens every plain pickle of protocol 4 and 5, which torch.save never writes of itself.
_CODE_SIGNS = ("Unsupported global", "Unsupported class", "GLOBAL", "call reduce", "Unsupported operand 149")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy the weights in ``path`` into ``model``, all of them or none.

    Reads ``.safetensors``, and ``.pth``/``.pt`` without unpickling code. The tensors may lie under
    ``state_dict``, ``model`` or ``net``, and their names may start with ``module.``, ``_orig_mod.`` or
    ``network.``. A file without ``mean`` and ``std`` (the released weights of Zou et al. 2026, say)
    leaves a :class:`Classifier`'s normalisation as it was built; a file with others is refused.

    Raises:
        ReinforcedError: no such file, a damaged one, pickled code, NaN or infinite weights, or
            tensors that do not fit the model.
    """
    path = Path(path)
    network = model.network if isinstance(model, Classifier) else model
    assert isinstance(network, nn.Module)
    expected = network.state_dict()
    state, statistics = _align(_tensors(_read(path), path), expected.keys())
    state = {_renamed(name, expected): tensor for name, tensor in state.items()}
    _check_names(state, expected, path)
    _check_shapes(state, expected, path)
    for name, tensor in (*state.items(), *statistics.items()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ReinforcedError(f"{path}: {name} holds NaN or infinite weights; use an earlier checkpoint")
    _check_statistics(model, statistics, path)
    network.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    if path.suffix not in _SUFFIXES:
        raise ReinforcedError(f"{path} is no weights file; give one that ends in {', '.join(_SUFFIXES)}")
    if not path.is_file():
        beside = path.parent.glob("*") if path.parent.is_dir() else ()
        hint = did_you_mean(path.name, [file.name for file in beside if file.suffix in _SUFFIXES])
        raise ReinforcedError(f"no weights file {path}{hint}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # The warning of an unusual pickle protocol adds nothing to whether the file can be read.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ReinforcedError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except Exception as error:  # a damaged file can raise nearly anything
        if "TorchScript" in str(error):
            raise ReinforcedError(f"{path} is a TorchScript program; re-save as safetensors") from error
        if any(sign in str(error) for sign in _CODE_SIGNS):
            raise ReinforcedError(f"{path} holds pickled code; re-save as safetensors") from error
        raise ReinforcedError(f"{path} is truncated or damaged; copy or download it again") from error


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    nest = next((key for key in _NESTS if isinstance(loaded, Mapping) and key in loaded), None)
    if nest is not None and isinstance(loaded[nest], Mapping):
        return _tensors(loaded[nest], path)
    if not isinstance(loaded, Mapping) or not loaded:
        found = "nothing" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise ReinforcedError(f"{path} holds {found}, not weights by name; save model.state_dict()")
    for name, value in loaded.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ReinforcedError(f"{path}: {name} is a {kind}, not a tensor; save model.state_dict() alone")
    return dict(loaded)


def _align(state: dict[str, Tensor], expected: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Strip as many prefixes as make the most names fit; set apart what the wrapper's level holds."""
    forms = [(state, dict[str, Tensor]())]
    while True:
        inner, outer = forms[-1]
        names = inner.keys() - _STATISTICS
        prefix = next((p for p in _PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            return max(forms, key=lambda form: len(form[0].keys() & expected))
        beside = {name: value for name, value in inner.items() if not name.startswith(prefix)}
        under = {name.removeprefix(prefix): value for name, value in inner.items() if name not in beside}
        forms.append((under, outer | beside))


def _renamed(name: str, expected: dict[str, Tensor]) -> str:
    """The released RL networks of Zou et al. 2026 call their last layer otherwise than the SL ones."""
    other = name.replace("classifier.", "fc2.")
    return other if name.startswith("classifier.") and name not in expected and other in expected else name


def _check_names(state: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    found = [
        f"{len(names)} tensors {what} (first {names[0]!r})"
        for what, names in (("missing", missing), ("unexpected", unexpected))
        if names
    ]
    if found:
        raise ReinforcedError(f"{path} does not fit the model: {', '.join(found)}; name the network it is of")


def _check_shapes(state: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    wrong = [name for name in state if state[name].shape != expected[name].shape]
    if not wrong:
        return
    there, here = tuple(state[wrong[0]].shape), tuple(expected[wrong[0]].shape)
    head = list(expected)[-2:]
    only_head = set(wrong) <= set(head) and there[1:] == here[1:]
    hint = f"build with classes={there[0]}" if only_head else "another network, image shape or classes?"
    raise ReinforcedError(f"{path}: {wrong[0]} is {there} in the file but {here} in the model; {hint}")


def _check_statistics(model: nn.Module, statistics: dict[str, Tensor], path: Path) -> None:
    if not statistics:
        return
    if statistics.keys() != _STATISTICS:
        raise ReinforcedError(f"{path} holds {sorted(statistics)} without its partner; re-save the model")
    mean, std = statistics["mean"].flatten(), statistics["std"].flatten()
    if isinstance(model, Classifier):
        here_mean, here_std = model.mean.cpu().flatten(), model.std.cpu().flatten()
    else:
        here_mean, here_std = torch.zeros_like(mean), torch.ones_like(std)
    # A file in half precision holds the same statistics rounded.
    if _same(here_mean, mean) and _same(here_std, std):
        return
    known = {"none": ((0.0,) * len(mean), (1.0,) * len(mean)), **STATISTICS}
    right = next(
        (n for n, (m, s) in known.items() if _same(torch.tensor(m), mean) and _same(torch.tensor(s), std)),
        "pretrained",
    )
    raise ReinforcedError(
        f"{path} was saved with mean {_text(mean)} and std {_text(std)}, "
        f"the model has {_text(here_mean)} and {_text(here_std)}; build with normalize={right!r}"
    )


def _same(here: Tensor, there: Tensor) -> bool:
    return torch.equal(here.to(there.dtype).float(), there.float())


def _text(values: Tensor) -> str:
    return "/".join(f"{value:.4g}" for value in values.tolist())
