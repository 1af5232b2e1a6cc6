"""The ONNX file gives the same logits, says nothing of this machine, or is not written."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.publish.onnx_file import TOLERANCE, write_onnx


def test_the_same_logits_for_any_batch_with_the_normalisation_inside(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("tiny", shape=(1, 8, 8), classes=10, normalize="digits").eval()
    difference = write_onnx(model, (1, 8, 8), tmp_path / "model.onnx")
    assert difference <= TOLERANCE
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    images = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(images), atol=1e-4, rtol=1e-4)
    stored = (tmp_path / "model.onnx").read_bytes()
    assert b"classifier.py" not in stored  # the exporter's stack traces name folders of this machine
    assert (
        onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    )


class Noisy(nn.Module):
    """Another answer each time."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) + torch.rand_like(images.flatten(1))


class Branching(nn.Module):
    """Its path depends on the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if float(images.sum()) > 1 else -images.flatten(1)


@pytest.mark.parametrize(("model", "said"), [(Noisy(), "other logits"), (Branching(), "no ONNX form")])
def test_what_cannot_be_the_same_is_not_written(model: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match=said) as raised:
        write_onnx(model.eval(), (1, 2, 2), tmp_path / "model.onnx")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ReinforcedError, match=r"pip install 'reinforced\[export\]'"):
        write_onnx(nn.Flatten().eval(), (1, 2, 2), tmp_path / "model.onnx")
