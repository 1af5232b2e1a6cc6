"""The way of CIFAR-100 and ImageNet-100 from download layout to report, on a few made-up images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hundred_classes.py"


def test_from_download_layout_to_report_with_a_hundred_classes_at_32_and_224_px() -> None:
    words = [sys.executable, "-W", "error::UserWarning", str(SCRIPT), "--tiny"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    for name, side in (("cifar100", 32), ("imagenet100", 224)):
        assert f"{name}: layout read, 100 classes of (3, {side}, {side})" in done.stdout
        for step in ("npz written and read", "trained", "AutoAttack leaves", "diagnosed", "report of"):
            assert f"{name}: {step}" in done.stdout
        hours = re.findall(rf"zou2026/{name}-[\w-]+, .*, ([\d,.]+) projected hours", done.stdout)
        assert len(hours) == 4
        assert all(float(each.replace(",", "")) > 0 for each in hours)
    assert re.search(r"peak memory of all this: \d+\.\d\d GB", done.stdout)
