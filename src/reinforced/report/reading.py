"""Files of a run directory, read so that a damaged one costs only itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]
YAML_ERRORS = (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError)
"""What the safe loader raises on text that is no YAML, holds no date or number where it says so, or nests."""


class Reader:
    """Reads one run's files; what is missing or damaged is said in ``gaps`` and never raised."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gaps: list[str] = []

    def missing(self, path: Path, why: str) -> None:
        """Note a gap, with the path below the run."""
        self.gaps.append(f"{path.relative_to(self.root)}: {why}")

    def json(self, path: Path, *, needed: bool = False) -> dict[str, Any]:
        """An object; empty if it is not there (a gap only where it is ``needed``) or damaged."""
        values = self._parsed(path, needed)
        if isinstance(values, dict):
            return values
        if values is not None:
            self.missing(path, "damaged (not an object)")
        return {}

    def points(self, path: Path) -> list[dict[str, Any]]:
        """A list of objects; empty if it is not there or damaged."""
        values = self._parsed(path, False)
        if isinstance(values, list) and all(isinstance(value, dict) for value in values):
            return values
        if values is not None:
            self.missing(path, "damaged (not a list of objects)")
        return []

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """An object a line; lines that are damaged are left out."""
        text = self._text(path, True)
        rows = []
        for number, line in enumerate(text.splitlines() if text else (), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                self.missing(path, f"line {number} is damaged")
        return rows

    def yaml(self, path: Path) -> dict[str, Any]:
        """A mapping; empty, with a gap, if it is not there or damaged."""
        text = self._text(path, True)
        if text is None:
            return {}
        try:
            values = yaml.safe_load(text)
        except YAML_ERRORS:
            values = None
        if not isinstance(values, dict):
            self.missing(path, "damaged (not a YAML mapping)")
            return {}
        return values

    def arrays(self, path: Path) -> dict[str, Array]:
        """The numeric and boolean arrays of an ``.npz``; empty, with a gap, if it is damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except FileNotFoundError:
            self.missing(path, "missing")
            return {}
        # Damaged archives raise zipfile's, zlib's and tokenize's errors, MemoryError for absurd shapes.
        except Exception as error:
            self.missing(path, f"damaged ({str(error) or type(error).__name__})")
            return {}
        return {name: array for name, array in arrays.items() if array.dtype.kind in "fiub"}

    def columns(self, path: Path) -> dict[str, list[Any]]:
        """The columns of a Parquet table; empty, with a gap, if it is not there or damaged."""
        import pyarrow as pa  # noqa: PLC0415 - slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            found: dict[str, list[Any]] = pq.read_table(path).to_pydict()
        except FileNotFoundError:
            self.missing(path, "missing")
        except (OSError, ValueError, pa.ArrowException) as error:
            self.missing(path, f"damaged ({str(error).splitlines()[0]})")
        else:
            return found
        return {}

    def _parsed(self, path: Path, needed: bool) -> Any:
        text = self._text(path, needed)
        if text is None:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self.missing(path, "damaged (not JSON)")
            return None

    def _text(self, path: Path, needed: bool) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if needed:
                self.missing(path, "missing")
        except (OSError, UnicodeDecodeError) as error:
            self.missing(path, f"damaged ({type(error).__name__})")
        return None


def number(values: Mapping[str, Any], key: str) -> float:
    """A figure; not-a-number where it is missing or none."""
    return _float(values.get(key))


def text(values: Mapping[str, Any], key: str, default: str = "") -> str:
    """A text; ``default`` where it is missing or none."""
    value = values.get(key)
    return value if isinstance(value, str) else default


def mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object; empty where it is missing or none."""
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def objects(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list; empty where it is missing or none."""
    value = values.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a list; empty where it is missing or none."""
    value = values.get(key)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def interval(values: Mapping[str, Any], key: str) -> tuple[float, float]:
    """A lower and an upper bound; not-a-number where they are missing or none."""
    value = values.get(key)
    low, high = value if isinstance(value, list) and len(value) == 2 else (None, None)
    return _float(low), _float(high)


def floats(values: object, length: int) -> Floats:
    """(length,) float64 of a column; not-a-number for none, text, and where the column is too short."""
    column = values if isinstance(values, list) else []
    known = [_float(one) for one in column[:length]]
    return np.array(known + [math.nan] * (length - len(known)), dtype=np.float64)


def _float(value: object) -> float:
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:  # JSON knows integers of any length
        return math.nan
