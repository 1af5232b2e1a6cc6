"""The runs in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from reinforced.errors import ReinforcedError

DEPTH = 3
"""Levels below the folder that are looked at."""


def find_runs(folder: Path) -> list[Path]:
    """The run directories in ``folder`` (or ``folder`` itself), by path.

    Runs inside a run (a diagnosis trains a control there) are none of the folder's, symbolic links are not
    followed, and hidden folders are left out.

    Raises:
        ReinforcedError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ReinforcedError(f"no folder {folder}; train something first: `reinforced quickstart`")
    found = []
    for root, inside, files in os.walk(folder):
        path = Path(root)
        if "recipe.yaml" in files:
            found.append(path)
        if "recipe.yaml" in files or len(path.relative_to(folder).parts) == DEPTH:
            inside.clear()
        inside[:] = [name for name in inside if not name.startswith(".")]
    if not found:
        raise ReinforcedError(f"no runs in {folder}; train something first: `reinforced quickstart`")
    return sorted(found)
