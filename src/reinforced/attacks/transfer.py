"""Transfer (Szegedy et al. 2014; Papernot et al. 2016): crafted on other models, judged on the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.base import Access, Attack, AttackOutput, Batch
from reinforced.attacks.checks import check_logits
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.seal import Meter, device_of, sealed
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


class Transfer:
    """Runs ``attack`` on given surrogates and hands over what it finds; the target is not asked once.

    Several surrogates are attacked as one, by the mean of their logits (Dong et al. 2018, section 3.4). For
    the best of several, build one attack a surrogate: :meth:`one_each`.

    Args:
        surrogates: by name, each [0,1] images -> logits (N, K), in any mode, on any device. Put into eval
            mode and frozen while crafting; afterwards as they were.
        attack: crafts on the surrogate. PGD is run with ``keep=strongest``: its first misclassified iterate
            sits on the surrogate's boundary and hardly transfers. Default: MI-FGSM with input diversity.

    Raises:
        ReinforcedError: no surrogate.
    """

    access: ClassVar[Access] = "none"

    def __init__(self, surrogates: Mapping[str, nn.Module], attack: Attack | None = None) -> None:
        if not surrogates:
            raise ReinforcedError("transfer: no surrogate; give at least one model to craft on")
        attack = MIFGSM(diversity=0.5) if attack is None else attack
        if isinstance(attack, PGD):
            attack = attack.model_copy(update={"keep": "strongest"})
        self.attack: Attack = attack
        self.surrogates = dict(surrogates)

    @classmethod
    def one_each(cls, surrogates: Mapping[str, nn.Module], attack: Attack | None = None) -> list[Transfer]:
        """A transfer attack from each surrogate alone."""
        return [cls({name: model}, attack) for name, model in surrogates.items()]

    @property
    def name(self) -> str:
        """``transfer(via=mifgsm(diversity=0.5),from=a+b)``."""
        return f"transfer(via={self.attack.name},from={'+'.join(self.surrogates)})"

    @property
    def norms(self) -> Collection[Norm]:
        """Those of the crafting attack."""
        return self.attack.norms

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``trace`` is the surrogate's.

        Raises:
            ReinforcedError: the target is one of the surrogates, or a surrogate does not fit the images.
        """
        with ExitStack() as stack:
            members = {}
            for name, surrogate in self.surrogates.items():
                if _same(surrogate, model):
                    raise ReinforcedError(
                        f"transfer: surrogate {name!r} is the attacked model itself; "
                        f"run {self.attack.name} on it instead"
                    )
                members[name] = stack.enter_context(sealed(surrogate, device_of(surrogate)))
            for name, member in members.items():
                _check(name, member, batch)
            crafted_on = next(iter(members.values())) if len(members) == 1 else MeanLogits(members)
            device = device_of(crafted_on)
            lent = Batch(batch.images.to(device), batch.labels.to(device))
            output = self.attack.candidates(crafted_on, lent, threat, stream)
            spent = sum(member.forwards + member.gradients for member in members.values())
            return replace(output, images=output.images.detach().to(batch.images), elsewhere=spent)


class MeanLogits(nn.Module):
    """One classifier of several, (N, C, H, W) -> (N, K) on the first one's device."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members.values())

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the members' logits."""
        each = [member(images.to(device_of(member))).to(images.device) for member in self.members]
        return torch.stack(each).mean(dim=0)


def _same(surrogate: nn.Module, target: nn.Module) -> bool:
    while isinstance(target, Meter):
        target = target.model
    # Both ways round: a wrapper (data parallel, say) holds the model as a part.
    return any(part is surrogate for part in target.modules()) or any(
        part is target for part in surrogate.modules()
    )


def _check(name: str, surrogate: nn.Module, batch: Batch) -> None:
    device = device_of(surrogate)
    try:
        with torch.no_grad():
            logits = surrogate(batch.images[:1].to(device))
        check_logits(logits, batch.labels[:1].to(device))
        if batch.labels.max() >= logits.shape[1]:
            raise ReinforcedError(
                f"labels: found {int(batch.labels.max())}, but the model has {logits.shape[1]} classes"
            )
    except ReinforcedError as error:
        raise ReinforcedError(f"transfer: surrogate {name!r}: {error}") from None
    except RuntimeError as error:
        shape = tuple(batch.images.shape[1:])
        reason = str(error).splitlines()[0]
        raise ReinforcedError(
            f"transfer: surrogate {name!r} does not take images of {shape}: {reason}"
        ) from None
