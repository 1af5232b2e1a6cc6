"""Wide ResNets, the larger networks of the robustness tables."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.models.layers import Shape


class _Block(nn.Module):
    """Pre-activation block of two 3x3 convolutions: ``(B, C, H, W)`` -> ``(B, out, H/s, W/s)``."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = None if channels == out else nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        # A widened shortcut starts from the activated features, a plain one from the raw ones.
        kept = x if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return residual + kept


class _WideResNet(nn.Module):
    def __init__(self, depth: int, width: int, channels: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.groups = nn.Sequential()
        for before, out, stride in zip(widths, widths[1:], (1, 2, 2), strict=False):
            first = _Block(before, out, stride)
            self.groups.append(nn.Sequential(first, *(_Block(out, out, 1) for _ in range(blocks - 1))))
        self.bn = nn.BatchNorm2d(widths[-1])
        self.linear = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.conv1(x))
        logits: Tensor = self.linear(F.relu(self.bn(x)).mean((2, 3)))
        return logits


def wide_resnet28_10(shape: Shape, classes: int) -> nn.Module:
    """Wide ResNet of depth 28, ten times as wide; no dropout. 36.5 M parameters at K = 10.

    Source: Zagoruyko & Komodakis 2016 (arXiv 1605.07146). Takes images of any size.
    """
    return _WideResNet(28, 10, shape[0], classes)


def wide_resnet34_10(shape: Shape, classes: int) -> nn.Module:
    """Wide ResNet of depth 34, ten times as wide; no dropout. 46.2 M parameters at K = 10.

    Source: Zagoruyko & Komodakis 2016 (arXiv 1605.07146). Takes images of any size.
    """
    return _WideResNet(34, 10, shape[0], classes)
