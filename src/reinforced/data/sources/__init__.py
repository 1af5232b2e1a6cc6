"""Where images come from: one file a source, each a function ``read(argument, options) -> Store``."""

from __future__ import annotations

from reinforced.data.sources import digits, folder, hub, npz, parquet, synthetic
from reinforced.data.store import Options, Reader, Store
from reinforced.errors import ReinforcedError, did_you_mean

_BY_NAME: dict[str, Reader] = {"digits": digits.read, **dict.fromkeys(hub.HUB, hub.read)}
_BY_PREFIX: dict[str, Reader] = {
    "folder": folder.read,
    "npz": npz.read,
    "parquet": parquet.read,
    "synthetic": synthetic.read,
}


def read(source: str, options: Options) -> Store:
    """Everything that ``source`` holds.

    Args:
        source: ``digits``, ``cifar10``, ``cifar100``, ``imagenet100``, or ``PREFIX:ARGUMENT`` with the prefix
            ``folder``, ``npz``, ``parquet`` or ``synthetic``.
        options: size, place and progress.

    Raises:
        ReinforcedError: no such source, or its data cannot be used.
    """
    prefix, colon, argument = source.partition(":")
    if colon and prefix in _BY_PREFIX:
        return _BY_PREFIX[prefix](argument, options)
    if source in _BY_NAME:
        return _BY_NAME[source](source, options)
    if prefix in _BY_PREFIX:
        raise ReinforcedError(f"source {source!r} lacks its argument: write {prefix}:...")
    if source.endswith(".npz"):
        raise ReinforcedError(f"unknown source {source!r}; did you mean 'npz:{source}'?")
    known = [*_BY_NAME, *(f"{other}:" for other in _BY_PREFIX)]
    raise ReinforcedError(f"unknown source {source!r}{did_you_mean(prefix + colon, known)}")
