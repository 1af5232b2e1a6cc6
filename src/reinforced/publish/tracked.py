"""A report in the trackers of its runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from reinforced.publish.markdown import table
from reinforced.report.write import Report
from reinforced.training.trackers import Tracking, attach_report


def track_report(runs: Sequence[Path], report: Report, tracking: Tracking) -> None:
    """Keep a report on these runs with each one's figures; as text, it is the comparison.

    Raises:
        ReinforcedError: a tracker cannot be written.
    """
    with (report.folder / "comparison.csv").open(encoding="utf-8", newline="") as file:
        heads, *rows = csv.reader(file)
    for run in runs:
        attach_report(run, report.html, table(heads, rows), tracking)
