"""A command as a user types it, run in the tests' own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Typed = Callable[[str], tuple[int, str, str]]
"""Of a line without its leading ``reinforced``: exit code, output and errors."""

TypedIn = Callable[[Path], Typed]
"""The same in a folder."""
