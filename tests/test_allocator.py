"""Freed memory that the next batch takes again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
{before}
def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB: 16,384 pages of 4 KiB, or 32 of 2 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
faults()
print(faults())
"""
EVALUATE = """
from reinforced.attacks.threat import ThreatModel
from reinforced.evaluation.evaluate import evaluate
from reinforced.models import build
torch.manual_seed(0)
images, labels = torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
model = build("tiny", shape=(3, 8, 8), classes=2).eval()
evaluate(model, images, labels, ThreatModel("linf", 0.1), attacks=["fgsm"])
"""


def faults(before: str) -> int:
    """Pages that ten blocks of 64 MiB, one after the other, have mapped afresh."""
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS.format(before=before)], check=True, capture_output=True, text=True
    )
    return int(ran.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
def test_a_block_is_mapped_once() -> None:
    assert faults("") > 200  # else there is nothing to spare; pages may be of 2 MiB
    assert faults("from reinforced.allocator import keep_freed_memory; keep_freed_memory()") < 100


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's allocator")
def test_an_evaluation_on_the_cpu_keeps_it() -> None:
    assert faults(EVALUATE) < 100
