"""ResNet-18 with the stem for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.models.layers import Shape


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut: ``(B, C, H, W)`` -> ``(B, out, H/s, W/s)``."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


class _ResNet18(nn.Module):
    # The attributes' names are those of the CIFAR ResNets in circulation (kuangliu/pytorch-cifar and
    # what descends from it), so that their weights load.
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.linear = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def resnet18_cifar(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18 with a 3x3 stem of stride 1 and no max-pool, for images of about 32 pixels.

    11.17 M parameters at K = 10; takes images of any size.

    Source: He et al. 2016 (arXiv 1512.03385); the stem as in kuangliu/pytorch-cifar.
    """
    return _ResNet18(shape[0], classes)
