"""``cifar10``, ``cifar100``, ``imagenet100``: data sets of the Hugging Face Hub, downloaded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reinforced.data.sources import parquet
from reinforced.data.store import Options, Store
from reinforced.errors import ReinforcedError


@dataclass(frozen=True)
class HubSet:
    """A repository of the Hub, and the side in pixels that its images get unless the user says otherwise."""

    repository: str
    size: int | None = None


HUB = {
    "cifar10": HubSet("uoft-cs/cifar10"),
    "cifar100": HubSet("uoft-cs/cifar100"),
    "imagenet100": HubSet("clane9/imagenet-100", size=224),
}


def read(name: str, options: Options) -> Store:
    """A Hub data set from ``<root>/<name>/``, downloaded there first unless its files are there.

    Raises:
        ReinforcedError: the Hub cannot be reached (said within seconds), or the files cannot be used.
    """
    folder = options.root / name
    if parquet.incomplete(folder):
        _download(name, folder, options.progress)
    sized = replace(options, size=options.size or HUB[name].size)
    return replace(parquet.read(str(folder.absolute()), sized), name=name)


def _download(name: str, folder: Path, progress: bool) -> None:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415

    repository = HUB[name].repository
    try:
        # The download retries for minutes without a network; this question does not.
        HfApi().dataset_info(repository, timeout=5)
        with _bars(progress):
            snapshot_download(
                repository, repo_type="dataset", allow_patterns="*.parquet", local_dir=folder, etag_timeout=5
            )
    # The Hub's client raises its own errors, its HTTP library's and the system's.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise ReinforcedError(
            f"cannot download {repository} ({type(error).__name__}: {reason}): put its parquet files"
            f" into {folder}, set REINFORCED_DATA to the folder that holds {name}/, or"
            " use parquet:DIR or npz:FILE"
        ) from error


@contextmanager
def _bars(progress: bool) -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if progress or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
