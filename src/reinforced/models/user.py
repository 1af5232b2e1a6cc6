"""A network of the user's own, named ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.models.layers import Shape


def user_network(name: str, shape: Shape, classes: int) -> nn.Module:
    """Import ``module`` (the current folder is searched first) and call its ``function``.

    The function is called with ``classes`` and ``shape`` (C, H, W), or with nothing where it takes no
    arguments; it returns the network.

    Raises:
        ReinforcedError: the module or the function is missing or fails, or returns something else.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ReinforcedError(
            f"a network of your own is named module:function, got {name!r}; e.g. nets:small"
        )
    with _current_folder_first():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise ReinforcedError(f"cannot import {module_name!r} for {name!r}: {_where(error)}") from error
        function = getattr(module, function_name, None)
        if not callable(function):
            public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
            hint = did_you_mean(function_name, public)
            where = getattr(module, "__file__", None) or module_name
            raise ReinforcedError(f"{where} has no function {function_name!r}{hint}")
        try:
            takes_none = not inspect.signature(function).parameters
            network = function() if takes_none else function(classes=classes, shape=shape)
        except Exception as error:
            raise ReinforcedError(f"{name} failed: {_where(error)}") from error
    if not isinstance(network, nn.Module):
        raise ReinforcedError(f"{name} returned a {type(network).__name__}; return a torch.nn.Module")
    return network


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _where(error: Exception) -> str:
    """The error in one line, with the file and line it came from."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {text}"
    elsewhere = (__file__, "importlib", "site-packages")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in elsewhere)
    ]
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {text}{place}"
