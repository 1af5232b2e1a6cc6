"""Pre-activation ResNet-18, the usual network of adversarial training on CIFAR."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.models.layers import Shape


class _Block(nn.Module):
    """Batch norm and ReLU BEFORE each 3x3 convolution: ``(B, C, H, W)`` -> ``(B, out, H/s, W/s)``."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return residual + kept


class _PreActResNet18(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        logits: Tensor = self.linear(F.relu(self.bn(x)).mean((2, 3)))
        return logits


def preact_resnet18(shape: Shape, classes: int) -> nn.Module:
    """Pre-activation ResNet-18 with a 3x3 stem; batch norm and ReLU once more before the mean pool.

    11.17 M parameters at K = 10; takes images of any size.

    Source: He et al. 2016 (arXiv 1603.05027), in the form of Rice et al. 2020 (arXiv 2002.11569).
    """
    return _PreActResNet18(shape[0], classes)
