"""Text of others in Markdown: it is shown as it is, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST = 200


def plain(value: object, longest: int = LONGEST) -> str:
    """``value`` on one line, its Markdown and HTML without effect, cut after ``longest`` characters."""
    return re.sub(r"([\\`*_\[\]<>|~&#$])", r"\\\1", _line(value, longest))


def code(value: object) -> str:
    """``value`` on one line as a code span; its backticks become apostrophes."""
    return f"`{_line(value, LONGEST).replace('`', chr(39))}`"


def _line(value: object, longest: int) -> str:
    line = " ".join(str(value).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the cells are :func:`plain`."""
    lines = [" | ".join(map(plain, header)), " | ".join("---" for _ in header)]
    lines += [" | ".join(map(plain, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
