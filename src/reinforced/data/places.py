"""Where data lie: the root folder, the user's cache, and paths that a user gives."""

from __future__ import annotations

import os
from pathlib import Path

from reinforced.errors import ReinforcedError, did_you_mean


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/reinforced``, or ``~/.cache/reinforced``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reinforced"


def data_root(root: Path | None) -> Path:
    """``root`` if given, else ``$REINFORCED_DATA``, else the user's cache."""
    return root or Path(os.environ.get("REINFORCED_DATA") or user_cache()).expanduser()


def decoded_folder() -> Path:
    """Where decoded images are kept: ``$REINFORCED_CACHE``, else ``decoded/`` in the user's cache."""
    return Path(os.environ.get("REINFORCED_CACHE") or user_cache() / "decoded").expanduser()


def resolve(given: str, root: Path, *, folder: bool) -> Path:
    """The file or folder a user means: looked for in the current folder, then under ``root``.

    Args:
        given: path as typed; ``~`` is understood.
        root: see :func:`data_root`.
        folder: whether a folder is expected, rather than a file.

    Raises:
        ReinforcedError: nothing there, something of the other kind, or no permission to look.
    """
    kind = "folder" if folder else "file"
    if not given:
        raise ReinforcedError(f"no path given: write the {kind} after the colon")
    try:
        path = Path(given).expanduser()
        tried = [path] if path.is_absolute() else [Path.cwd() / path, root / path]
        for candidate in tried:
            if candidate.is_dir() if folder else candidate.is_file():
                return candidate
        wrong = next((candidate for candidate in tried if candidate.exists()), None)
        parent = tried[0].parent
        entries = parent.iterdir() if parent.is_dir() else ()
        siblings = [entry.name for entry in entries if entry.suffix == path.suffix]
    except (OSError, ValueError, RuntimeError) as error:
        raise ReinforcedError(
            f"cannot read {given!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if wrong is not None:
        raise ReinforcedError(f"{wrong} is not a {kind}: give a {kind}")
    places = " or ".join(map(str, tried))
    near = did_you_mean(path.name, siblings) if siblings else ""
    hint = near if near.endswith("?") else "; check the path, or name another source (data.source=...)"
    raise ReinforcedError(f"no such {kind}: {places}{hint}")
