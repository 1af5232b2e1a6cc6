"""Seconds and megabytes of a report on 20 made-up runs of 1,000 images each.

python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from common import bar, machine, parse

sys.path.append(str(Path(__file__).parents[1]))

from reinforced.report.write import write_report
from tests.report.made_up_runs import MadeUp, make_run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    given = parse(parser)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [
            make_run(
                folder / f"run-{number}",
                MadeUp(f"made-up/{number // 2}", number % 2, given.images, side=32, landscape=100),
            )
            for number in range(given.runs)
        ]
        wall, cpu = time.perf_counter(), time.process_time()
        written = write_report(runs, folder / "report.html")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        page = written.html.stat().st_size / 1e6
        beside = sum(file.stat().st_size for file in written.folder.iterdir()) / 1e6
    print(f"{given.runs} runs x {given.images} images: {wall:.1f} s ({cpu:.1f} s of one core)")
    print(f"page {page:.1f} MB; figures and tables beside it {beside:.1f} MB")
    bar("seconds", wall, "<= 20", wall <= 20)
    bar("page, MB", page, "<= 30", page <= 30)


if __name__ == "__main__":
    main()
