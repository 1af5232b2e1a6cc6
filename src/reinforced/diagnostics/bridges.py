"""Which parts of a model lose or falsify the gradient, by what they do and not by what they are.

What lies between two points of a forward pass (:mod:`reinforced.diagnostics.standin`) of one shape is a part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reinforced.diagnostics.standin import Bridge, Place, Walk

FALSE = (0.2, 5.0)
"""Change of an output along itself that the gradient promises, over the change that comes. Smooth layers
have 1; ReLU and pooling between 0.5 and 2 on the networks here; outside these bounds it leads nowhere."""
ROUNDS = 8
"""Parts bridged at most: each can hide the next."""


def bridges(model: nn.Module, images: Tensor, moved: Tensor, seed: int) -> tuple[list[Bridge], int]:
    """The parts of ``model`` to bridge, and the passes it took to find them.

    A part's gradient is lost where its output changes from ``images`` to ``moved``, its input's gradient
    reaches the images, and its output's does not (on at least half of the images that change it). It is false
    in a module without modules inside where it promises under a fifth of what comes, or over five times it.

    Args:
        model: in eval mode, its weights frozen.
        images, moved: (N, C, H, W), the latter anywhere in the ball around the former.
        seed: of the model's own draws, the same in both passes.
    """
    found: list[Bridge] = []
    spent = 0
    for _ in range(ROUNDS):
        one, x = _run(model, images, found, seed)
        two, _ = _run(model, moved, found, seed)
        bridge, looked = _next(one, two, x, {bridge.to for bridge in found})
        spent += (2 + looked) * len(images)
        if bridge is None:
            break
        found.append(bridge)
    return found, spent


def _run(model: nn.Module, images: Tensor, found: Sequence[Bridge], seed: int) -> tuple[Walk, Tensor]:
    now = Walk(found)
    x = images.clone().requires_grad_()
    torch.manual_seed(seed)
    with torch.enable_grad(), now.watching(model):
        model(x)
    return now, x


def _next(one: Walk, two: Walk, x: Tensor, bridged: set[Place]) -> tuple[Bridge | None, int]:
    """The first part that needs a bridge, and how many backward passes it took to see."""
    living: list[Place] = []
    looked = 0
    for place, point in one.points.items():
        change = _change(one, two, place)
        if change is None or not change.any():
            continue
        looked += 1
        alive = _reaches(point, x, change)
        if not alive:
            sources = [p for p in living if one.points[p].shape == point.shape and place not in bridged]
            inside = [p for p in one.owners.get(place, []) if p in sources]
            if sources:
                return Bridge(tuple(_last(one, inside) or sources[-1:]), place, lost=True), looked
            continue
        living.append(place)
        name, side, call = place
        source = (name, "in", call)
        if side == "out" and name in one.leaves and source in living and place not in bridged:
            looked += 1
            if _false(one, two, source, place, change):
                return Bridge((source,), place, lost=False), looked
    return None, looked


def _change(one: Walk, two: Walk, place: Place) -> Tensor | None:
    here, there = one.values[place], two.values.get(place)
    if there is None or here.shape != there.shape or not here.is_floating_point() or here.ndim < 2:
        return None
    return there - here


def _reaches(point: Tensor, x: Tensor, along: Tensor) -> bool:
    """Whether the gradient of ``point`` along the change reaches most of the images ``x`` that change it."""
    if not point.requires_grad:
        return False
    gradient = _gradient(point, x, along)
    if gradient is None:
        return False
    moved = (gradient.flatten(1) != 0).any(1)
    # Points need not have a row an image (a batch of patches, say): then any change counts for all.
    changed = along.flatten(1).any(1) if len(along) == len(x) else torch.ones_like(moved)
    return bool(moved[changed].float().mean() >= 0.5)


def _gradient(point: Tensor, to: Tensor, along: Tensor) -> Tensor | None:
    try:
        found = torch.autograd.grad(point, to, along, retain_graph=True, allow_unused=True)
    except Exception:  # somebody's own backward pass may raise anything: no gradient then
        return None
    return found[0]


def _false(one: Walk, two: Walk, source: Place, place: Place, change: Tensor) -> bool:
    before = _change(one, two, source)
    if before is None or before.shape != change.shape:
        return False
    gradient = _gradient(one.points[place], one.points[source], change)
    if gradient is None:
        return False  # its input was written over: it is no longer in the graph
    came = change.flatten(1).square().sum(1)
    promised = (gradient * before).flatten(1).sum(1)
    ratio = (promised / came)[came > 0].median()
    return not FALSE[0] <= float(ratio) <= FALSE[1]


def _last(one: Walk, places: Sequence[Place]) -> list[Place]:
    """Those of ``places`` that no later one is computed from: the members of a vote, say."""
    kept = []
    for number, place in enumerate(places):
        later = [one.points[p] for p in places[number + 1 :] if one.points[p].requires_grad]
        used = any(
            torch.autograd.grad(p.sum(), one.points[place], retain_graph=True, allow_unused=True)[0]
            is not None
            for p in later
        )
        if not used:
            kept.append(place)
    return kept
