"""Image classifiers trained by reinforcement learning, and a judge of their robustness.

The names below are imported when first used, so that ``import reinforced`` and ``reinforced --help`` stay
instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reinforced.attacks.base import run_attack as run_attack
    from reinforced.attacks.pgd import PGD as PGD
    from reinforced.attacks.threat import ThreatModel as ThreatModel
    from reinforced.data import load as load_data  # noqa: F401
    from reinforced.diagnostics.diagnose import diagnose as diagnose
    from reinforced.diagnostics.findings import Certificate as Certificate
    from reinforced.diagnostics.findings import Claim as Claim
    from reinforced.errors import ReinforcedError as ReinforcedError
    from reinforced.evaluation.evaluate import evaluate as evaluate
    from reinforced.models import build as build_model  # noqa: F401
    from reinforced.publish.exported import load_exported as load_exported
    from reinforced.studies.policies import import_policy as import_policy
    from reinforced.training.loop import train as train
    from reinforced.training.recipes import load_recipe as load_recipe
    from reinforced.training.run import load_model as load_model

__version__ = "0.1.0"

_HOME = {
    "PGD": "attacks.pgd:PGD",
    "ReinforcedError": "errors:ReinforcedError",
    "ThreatModel": "attacks.threat:ThreatModel",
    "Certificate": "diagnostics.findings:Certificate",
    "Claim": "diagnostics.findings:Claim",
    "build_model": "models:build",
    "diagnose": "diagnostics.diagnose:diagnose",
    "evaluate": "evaluation.evaluate:evaluate",
    "import_policy": "studies.policies:import_policy",
    "load_data": "data:load",
    "load_exported": "publish.exported:load_exported",
    "load_model": "training.run:load_model",
    "load_recipe": "training.recipes:load_recipe",
    "run_attack": "attacks.base:run_attack",
    "train": "training.loop:train",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the names are in _HOME


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'reinforced' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"reinforced.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
