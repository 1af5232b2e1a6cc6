"""Randomised smoothing's certificate, recomputed (Cohen et al. 2019, arXiv 1902.02918, section 3.2).

A certificate speaks of one model alone: the majority class of ``network(x + sigma * normal)``. A verified
example inside a certified radius defeats it, whoever computed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.base import chunk_size
from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.seal import device_of, sealed
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

ALPHA = 0.001
"""Chance that a certificate is wrong, of each image: Cohen et al. 2019."""


def certify(count: int, n: int, sigma: float, alpha: float = ALPHA) -> float:
    """The L2 radius within which the smoothed class cannot change, in pixel units; 0 for abstention.

    ``sigma * Phi^-1(p)``, with p the one-sided exact lower bound (Clopper and Pearson) of the class's share.

    Args:
        count: of ``n`` noisy copies that got the class, which other copies had chosen.
        n: copies.
        sigma: standard deviation of the noise, in pixel units.
        alpha: chance that the bound is wrong.

    Raises:
        ReinforcedError: counts outside 0..n, or sigma or alpha out of range.
    """
    from scipy.stats import norm  # noqa: PLC0415 - slow to import

    if sigma <= 0:
        raise ReinforcedError(f"certificate: sigma {sigma:g}; noise has a positive standard deviation")
    if not 0 < alpha < 0.5:
        raise ReinforcedError(f"certificate: alpha {alpha:g}; give a chance in (0, 0.5), such as 0.001")
    low, _ = clopper_pearson(count, n, 1 - 2 * alpha)
    return sigma * float(norm.ppf(low)) if low > 0.5 else 0.0


@dataclass(frozen=True)
class Certificates:
    """For each image the smoothed ``classes`` (N,) int64, and ``radii`` (N,) in L2, 0 for abstention."""

    classes: Tensor
    radii: Tensor

    def hold(self, labels: Tensor, epsilon: float) -> Tensor:
        """(N,) bool: right, and certified for at least ``epsilon``; ``labels`` (N,)."""
        return (self.classes == labels) & (self.radii >= epsilon) & (self.radii > 0)

    def defeated(self, labels: Tensor, epsilon: float, witnessed: Sequence[bool]) -> int:
        """Images certified for ``epsilon`` for which a verified example within it exists all the same."""
        return int((self.hold(labels, epsilon) & torch.tensor(list(witnessed), dtype=torch.bool)).sum())


def certificates(
    network: nn.Module,
    images: Tensor,
    sigma: float,
    *,
    seed: int,
    selection: int = 100,
    samples: int = 1000,
    alpha: float = ALPHA,
) -> Certificates:
    """Certify the majority vote of a network over noisy copies: Cohen et al.'s CERTIFY.

    Args:
        network: [0,1] images (N, C, H, W) to logits (N, K), without the noise.
        images: (N, C, H, W) float32 in [0,1].
        sigma: of the noise, in pixel units.
        seed: of the noise, which an image has for itself: its certificate depends on no other image.
        selection: copies that choose the class.
        samples: other copies that bound its share.
        alpha: chance that a radius is wrong, an image.
    """
    classes, radii = [], []
    with sealed(network, device_of(network)) as meter:
        for row, image in enumerate(images):
            stream = Stream(seed, f"certificate/{row}")
            chosen = int(_classes(meter.model, image, sigma, selection, stream).bincount().argmax())
            count = int((_classes(meter.model, image, sigma, samples, stream) == chosen).sum())
            classes.append(chosen)
            radii.append(certify(count, samples, sigma, alpha))
    return Certificates(torch.tensor(classes), torch.tensor(radii))


def _classes(network: nn.Module, image: Tensor, sigma: float, copies: int, stream: Stream) -> Tensor:
    """What so many noisy copies of an image (C, H, W) get: (copies,) int64 on the CPU."""
    device, found = device_of(network), []
    size = chunk_size(None, image[None], device)
    for start in range(0, copies, size):
        # Drawn copy by copy, so that the noise does not depend on the batch.
        noise = torch.cat([stream.normal(1, *image.shape) for _ in range(min(size, copies - start))])
        with torch.no_grad():
            found.append(network((image + sigma * noise.to(image)).to(device)).argmax(1).cpu())
    return torch.cat(found)
