"""A classifier as an ONNX file that gives the same logits, or no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from reinforced.errors import ReinforcedError
from reinforced.files import atomic

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

TOLERANCE = 1e-4
"""Largest difference allowed between two logits, as a part of the largest logit (of 1 if that is less)."""
BATCHES = (1, 3, 64)


def write_onnx(model: nn.Module, shape: tuple[int, int, int], path: Path) -> float:
    """Write ``path``: input ``images`` (batch, C, H, W) float32 in [0,1], output ``logits`` (batch, K).

    The normalisation is inside and the batch free. What torch's exporter says of the source files is taken
    out: it names folders of this machine.

    Args:
        model: in eval mode, on the CPU.
        shape: (C, H, W) of the images.
        path: the file; it is written only if onnxruntime gives the same logits.

    Returns:
        The largest difference of any logit, over random images in batches of :data:`BATCHES`.

    Raises:
        ReinforcedError: the export extra is missing, the network has no ONNX form, or the logits differ by
            more than :data:`TOLERANCE`.
    """
    try:
        import onnx  # noqa: F401, PLC0415 - an extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise ReinforcedError(f"--onnx needs {error.name}: pip install 'reinforced[export]'") from None
    with atomic(path) as temporary:
        temporary.write_bytes(_exported(model, shape).SerializeToString())
        return _difference(model, shape, temporary)


def _exported(model: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415

    try:
        program = torch.onnx.export(
            model,
            (torch.zeros(2, *shape),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        found: onnx.ModelProto = program.model_proto
        _strip(found)
        onnx.checker.check_model(found, full_check=True)
    except Exception as error:  # the exporter passes on whatever tracing the network raises
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ReinforcedError(f"the network has no ONNX form ({said[0]}); export without --onnx") from error
    return found


def _strip(message: Message) -> None:
    """Clear the exporter's remarks, at any depth."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _strip(inner)


@torch.no_grad()
def _difference(model: nn.Module, shape: tuple[int, int, int], path: Path) -> float:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for size in BATCHES:
        images = torch.rand(size, *shape, generator=generator)
        ours = model(images)
        (theirs,) = session.run(["logits"], {"images": images.numpy()})
        difference = float((ours - torch.from_numpy(theirs)).abs().max())
        allowed = TOLERANCE * max(1.0, float(ours.abs().max()))
        if not difference <= allowed:
            raise ReinforcedError(
                f"the ONNX file gives other logits (apart by {difference:.2g}, allowed {allowed:.2g}); is "
                "the network randomised? export without --onnx"
            )
        worst = max(worst, difference)
    return worst
