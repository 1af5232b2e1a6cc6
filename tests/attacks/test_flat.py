"""Long evaluations stay flat: neither memory nor open files grow with the number of batches."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
import torch
from torch import nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make this test many times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_memory_and_files_are_flat_over_200_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 4))
    images = torch.rand(64, 3, 16, 16)
    labels = model(images).argmax(dim=1)
    process = psutil.Process()

    def attack(batches: range) -> None:
        for first in batches:
            run_attack(PGD(steps=1), model, images, labels, ThreatModel("l2", 0.5), seed=0, first_chunk=first)

    attack(range(20))
    memory, files = process.memory_info().rss, process.num_fds()
    attack(range(20, 220))
    assert process.memory_info().rss - memory < 20 * 2**20
    assert process.num_fds() == files
