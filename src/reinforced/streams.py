"""Random streams: one generator a purpose, so that changing one draw never shifts another."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Stream:
    """A named random stream whose draws for a global batch do not depend on the number of processes.

    Every process holds the same generator state and draws for the whole global batch, then keeps its
    own contiguous slice: process ``rank`` of ``world`` keeps rows ``[rank * n, (rank + 1) * n)``.

    Args:
        seed: the run's seed.
        name: what the stream is for (``"order"``, ``"augmentation"``, ``"exploration"``, ...).
        device: where the draws are made and returned.
        rank, world: this process's place among ``world`` processes.
    """

    def __init__(
        self,
        seed: int,
        name: str,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        digest = hashlib.sha256(f"{name}:{seed}".encode()).digest()
        self.name = name
        self.rank = rank
        self.world = world
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    @property
    def device(self) -> torch.device:
        """Where the draws are made."""
        return self.generator.device

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """Float32 draws in [0, 1): ``(rows, *shape)``, this process's slice of the global batch."""
        draws = torch.rand((rows * self.world, *shape), generator=self.generator, device=self.device)
        return draws[self.rank * rows : (self.rank + 1) * rows]

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Standard normal float32 draws, sliced as in :meth:`uniform`."""
        draws = torch.randn((rows * self.world, *shape), generator=self.generator, device=self.device)
        return draws[self.rank * rows : (self.rank + 1) * rows]

    def shared_uniform(self, *shape: int) -> Tensor:
        """Float32 draws in [0, 1) that every process sees alike (a coin for the whole batch)."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def permutation(self, n: int) -> Tensor:
        """A permutation of ``range(n)``, int64, the same in every process."""
        return torch.randperm(n, generator=self.generator, device=self.device)

    def get_state(self) -> Tensor:
        """The generator's state, a uint8 CPU tensor."""
        return self.generator.get_state()

    def set_state(self, state: Tensor) -> None:
        """Restore a state that :meth:`get_state` gave."""
        self.generator.set_state(state)
