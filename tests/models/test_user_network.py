"""Networks of the user's own, by ``module:function`` from the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from reinforced.errors import ReinforcedError
from reinforced.models import build

SHAPE = (1, 8, 8)
NETS = """
from torch import nn

def fitted(*, classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(shape[0] * shape[1] * shape[2], classes))

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def frozen():
    network = fixed()
    network[1].eval()
    return network

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def wrong_size():
    return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))

class Pair(nn.Module):
    def forward(self, x):
        return x, x

def pair():
    return Pair()

def text():
    return "network"

def broken(classes, shape):
    raise ValueError("two\\nlines")

def greedy(depth):
    return fixed()

not_a_function = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usernets.py").write_text(NETS)
    (tmp_path / "usernets_syntax.py").write_text("def f(:\n")
    (tmp_path / "usernets_import.py").write_text("import there_is_no_such_module\n")
    for name in ("usernets", "usernets_syntax", "usernets_import"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("function", ["fitted", "fixed"])
def test_the_function_is_called_and_wrapped(function: str) -> None:
    before = list(sys.path)
    model = build(f"usernets:{function}", shape=SHAPE, classes=10, normalize="digits")
    assert sys.path == before
    assert all(module.training for module in model.modules())
    assert model(torch.rand(2, *SHAPE)).shape == (2, 10)
    assert {"mean", "std"} < model.state_dict().keys()


def test_a_layer_that_the_user_froze_stays_frozen() -> None:
    model = build("usernets:frozen", shape=SHAPE, classes=10)
    assert [module.training for module in model.modules()] == [True, True, True, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("usernet:fixed", "cannot import 'usernet' .*No module named 'usernet'$"),
        ("usernets_syntax:f", r"cannot import 'usernets_syntax' .*SyntaxError: .*usernets_syntax.py, line 1"),
        ("usernets_import:f", r"there_is_no_such_module' at .*usernets_import.py:1$"),
        ("usernets:fixd", r"usernets.py has no function 'fixd'; did you mean 'fixed'"),
        ("usernets:not_a_function", "has no function 'not_a_function'"),
        ("usernets:", "named module:function, got 'usernets:'"),
        ("usernets:broken", r"usernets:broken failed: ValueError: two lines at .*usernets.py:\d+$"),
        ("usernets:greedy", "unexpected keyword argument"),
        ("usernets:text", "returned a str; return a torch.nn.Module"),
        ("usernets:pair", "returns a tuple; it must return the logits alone"),
        ("usernets:narrow", r"returns \(2, 3\) for 2 images; 10 classes need \(2, 10\)"),
        ("usernets:wrong_size", "cannot take 1x8x8 images .*check its shape argument"),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        build(name, shape=SHAPE, classes=10)
    assert "\n" not in str(caught.value)


def test_pretrained_is_for_timm() -> None:
    with pytest.raises(ReinforcedError, match="no pretrained weights for 'usernets:fixed'"):
        build("usernets:fixed", shape=SHAPE, classes=10, pretrained=True)
