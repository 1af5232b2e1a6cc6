"""timm's networks: built to fit, and refused at once where they cannot be."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reinforced.errors import ReinforcedError
from reinforced.models import build, timm_models


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (1, 32, 32)),
        ("resnet50", (3, 32, 32)),
        ("densenet121", (3, 64, 64)),
        ("test_vit", (3, 160, 160)),
    ],
)
def test_networks_are_built_to_fit(name: str, shape: tuple[int, int, int]) -> None:
    model = build(f"timm:{name}", shape=shape, classes=7)
    assert all(module.training for module in model.modules())
    model.eval()
    with torch.no_grad():
        assert model(torch.rand(2, *shape)).shape == (2, 7)


def test_the_dry_run_draws_nothing() -> None:
    def next_draw(shape: tuple[int, int, int]) -> torch.Tensor:
        torch.manual_seed(0)
        build("timm:test_resnet", shape=shape, classes=3)
        return torch.rand(1)

    assert torch.equal(next_draw((3, 32, 32)), next_draw((3, 64, 64)))


def test_pretrained_normalisation_is_timms_record() -> None:
    model = build("timm:test_resnet", shape=(3, 32, 32), classes=3, normalize="pretrained")
    assert model.state_dict()["mean"].flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("densenet121", (3, 8, 8), r"cannot take 3x8x8 images .*224x224, or use 'cnn6_small'"),
        ("vit_tiny_patch16_224", (3, 32, 32), r"cannot take 3x32x32 images .*224x224"),
        ("resnett50", (3, 32, 32), "did you mean 'timm:resnet50'"),
        ("qqqqqq", (3, 32, 32), "timm has no network 'qqqqqq'; timm.list_models"),
        ("test_resnet.nothing", (3, 32, 32), "Invalid pretrained tag"),
    ],
)
def test_refusals(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        build(f"timm:{name}", shape=shape, classes=10)
    assert "\n" not in str(caught.value)


def uncached(monkeypatch: pytest.MonkeyPatch, *, offline: bool) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)


@pytest.mark.parametrize(
    ("name", "offline", "message"),
    [
        ("test_resnet", True, "not in the cache and HF_HUB_OFFLINE is set"),
        ("test_resnet", False, "did not answer within 3 s and timm:test_resnet is not in the cache"),
        ("densenet264d", False, "no pretrained weights for 'densenet264d'"),
        ("test_resnet.nothing", False, "Invalid pretrained tag"),
    ],
)
def test_pretrained_weights_out_of_reach(
    name: str, offline: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached(monkeypatch, offline=offline)
    monkeypatch.setattr(timm_models, "hub_answers", lambda: False)
    with pytest.raises(ReinforcedError, match=message) as caught:
        build(f"timm:{name}", shape=(3, 32, 32), classes=10, pretrained=True)
    assert "\n" not in str(caught.value)


class Session:
    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error

    def head(self, url: str, timeout: float) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("session", "answers"),
    [(Session(0), True), (Session(0, OSError("no route")), False), (Session(2), False)],
    ids=["answers", "refuses", "hangs"],
)
def test_the_hub_is_asked_only_so_long(
    session: Session, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_session", lambda: session)
    start = time.monotonic()
    assert timm_models.hub_answers(0.2) is answers
    assert time.monotonic() - start < 1.5


def test_cached_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    shape = (3, 160, 160)
    released = timm.create_model("test_resnet").eval()
    save_file(released.state_dict(), tmp_path / "model.safetensors")

    def cache(repository: str, file: str) -> Any:
        assert repository == "timm/test_resnet.r160_in1k"
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cache)
    monkeypatch.setattr(timm_models, "hub_answers", lambda: pytest.fail("asked the hub"))
    x = torch.rand(2, *shape)
    same = build("timm:test_resnet", shape=shape, classes=1000, pretrained=True).eval()
    assert torch.equal(same(x), released(x))
    other = build("timm:test_resnet", shape=(1, 32, 32), classes=5, pretrained=True).eval()
    assert other(torch.rand(2, 1, 32, 32)).shape == (2, 5)
