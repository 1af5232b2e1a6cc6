"""BPDA: attack a stand-in whose lost or false gradients are replaced, and verify on the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.pgd import PGD, probe
from reinforced.attacks.random_search import on_surface
from reinforced.attacks.seal import device_of, sealed
from reinforced.component import setting
from reinforced.diagnostics.bridges import bridges
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, listed
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.standin import Bridge, Bridged, Smoothed, Wrapped
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

STAND_INS = {
    "differentiable": "the author's own gradient",
    "identity": "the identity as backward pass",
    "averaged": "gradients averaged over neighbours",
}


class BPDA(Check):
    """Backward pass differentiable approximation (Athalye et al. 2018, arXiv 1802.00420, section 4).

    Three stand-ins, each attacked by PGD with the margin loss (over several passes a step on randomised
    models), every example verified on the model itself:
    the author's own, ``model.differentiable`` (images to logits), where there is one;
    the model with the identity as backward pass of each part that keeps its input's shape and through which
    the gradient is lost, or false by finite differences (:mod:`reinforced.diagnostics.bridges`);
    the model with gradients averaged over random neighbours at ``radius`` epsilon, against functions that
    jump; on the quick budget only where neighbours' gradients agree by less than ``cosine``.
    Cost: at most 100 passes on 8 images to look; 40 an image and stand-in quick, 200 standard, 400 thorough;
    the averaged one 160, 1,640 and 4,100.
    Fires: any witness; a part without gradient as a mechanism.
    False positives: none of the witnesses; 8-bit rounding of the input is such a part, and where its remedies
    find nothing the verdict is inconclusive.
    """

    name: ClassVar[str] = "bpda"

    looked: int = setting(8, "images on which parts are compared", ge=1)
    radius: float = setting(0.25, "of the averaging, as a part of epsilon", gt=0)
    cosine: float = setting(0.5, "of neighbouring gradients, below which averaging is tried", ge=-1, le=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        rows = case.among(case.clean, self.looked).nonzero().squeeze(1)
        if not len(rows):
            return self.cannot("No image is rightly classified.")
        steps, draws = {"quick": (20, 7), "standard": (100, 20), "thorough": (200, 20)}[case.budget]
        stand_ins, parts, lost = self._stand_ins(case, rows, draws)
        broken = torch.zeros_like(case.claimed)
        figures: dict[str, Any] = {"parts": ", ".join(parts)}
        for name, stand_in in stand_ins.items():
            averaged = isinstance(stand_in, Smoothed)
            attack = PGD(
                steps=steps // (2 if averaged else 1),
                loss="margin",
                eot=5 if case.checked.randomised and not averaged else 1,
            )
            try:
                done = case.attack(
                    attack,
                    on=case.standing if averaged else case.claimed,
                    stand_in=stand_in,
                    draws=min(case.draws, 20),
                )
            except ReinforcedError as error:
                figures[name] = f"none ({error})"
                continue
            if averaged:
                case.passes += draws * (done.result.forwards + done.result.gradients)
            broken |= done.broken
            figures[name] = int(done.broken.sum())
        witnesses = case.witnesses(broken)
        where = (
            f"The gradient is lost or false in {listed(parts)}" if parts else "No gradient is lost or false"
        )
        tried = listed([f"{figures[name]} with {STAND_INS[name]}" for name in stand_ins])
        said = f"{where}; of the images left, PGD on a stand-in breaks {tried}." if tried else f"{where}."
        if witnesses:
            return self.fires("witness", said, witnesses=witnesses, **figures)
        if lost:
            return self.fires("mechanism", said, remedies=("black_box", "ensemble"), **figures)
        return self.silent(said, **figures)

    def _stand_ins(
        self, case: Case, rows: Tensor, draws: int
    ) -> tuple[dict[str, nn.Module], list[str], bool]:
        """What to attack by name, the parts replaced, and whether the gradient is lost in any."""
        device = device_of(case.model)
        images, labels = case.images[rows].to(device), case.labels[rows].to(device)
        found: dict[str, nn.Module] = {}
        given = getattr(case.model, "differentiable", None)
        if callable(given):
            found["differentiable"] = given if isinstance(given, nn.Module) else Wrapped(given)
        moved = on_surface(images, case.threat, Stream(case.seed, "bpda"))
        with sealed(case.model, device):
            chosen, spent = bridges(case.model, images, moved, case.seed)
            case.passes += spent
            lost = [bridge for bridge in chosen if bridge.lost]
            if self._bears(case.model, chosen, images):
                found["identity"] = Bridged(case.model, chosen)
            # A gradient that is false in single points may be true on average: only lost ones are replaced.
            inner = Bridged(case.model, lost) if self._bears(case.model, lost, images) else case.model
            unbridged = bool(chosen) and "identity" not in found
            wanted = case.budget != "quick" or len(lost) < len(chosen) or unbridged
            if wanted or self._jumps(case, inner, images, moved, labels):
                found["averaged"] = Smoothed(inner, case.threat, self.radius, draws)
        return found, [bridge.name for bridge in chosen], any(bridge.lost for bridge in chosen)

    def _bears(self, model: nn.Module, chosen: Sequence[Bridge], images: Tensor) -> bool:
        """Whether there are bridges, and none cuts what the model's own backward pass goes through."""
        if not chosen:
            return False
        x = images[:1].clone().requires_grad_()
        try:
            with torch.enable_grad():
                torch.autograd.grad(Bridged(model, chosen)(x).sum(), x)
        except RuntimeError:
            return False
        return True

    def _jumps(self, case: Case, model: nn.Module, images: Tensor, moved: Tensor, labels: Tensor) -> bool:
        """Whether gradients of neighbours within ``radius`` epsilon point elsewhere."""
        near = images + self.radius * (moved - images)
        try:
            here, there = (
                probe(model, x, labels, "margin", draws=5 if case.checked.randomised else 1).gradient.flatten(
                    1
                )
                for x in (images, near)
            )
        except ReinforcedError:
            return False
        case.passes += 4 * len(images)
        alike = nn.functional.cosine_similarity(here.double(), there.double(), dim=1, eps=1e-300)
        return float(alike.mean()) < self.cosine
