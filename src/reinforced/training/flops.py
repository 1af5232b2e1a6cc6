"""Counting a step's floating-point operations, double backward included."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class CountFlops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts convolutions and matrix products while it is entered, by torch's formulas; 2 a multiply-add.

    Torch's own ``FlopCounterMode`` follows modules through backward hooks, which ``torch.autograd.grad``
    with a graph does not allow. Element-wise operations count nothing, as there. Results are unchanged.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and add its count."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result
