"""Checks that give findings, in the order a diagnosis runs them. A new one is one file and one name here."""

from reinforced.diagnostics.checks.attack_lint import AttackLint
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.checks.binarisation import Binarisation
from reinforced.diagnostics.checks.black_box import BlackBox
from reinforced.diagnostics.checks.bpda import BPDA
from reinforced.diagnostics.checks.certificate import CertificateCheck
from reinforced.diagnostics.checks.claim_lint import ClaimLint
from reinforced.diagnostics.checks.consistency import Consistency
from reinforced.diagnostics.checks.convergence import Convergence
from reinforced.diagnostics.checks.ensemble import Ensemble
from reinforced.diagnostics.checks.epsilon_rising import EpsilonRising
from reinforced.diagnostics.checks.finite_differences import FiniteDifferences
from reinforced.diagnostics.checks.gradient_alignment import GradientAlignment
from reinforced.diagnostics.checks.grid import Grid
from reinforced.diagnostics.checks.imbalanced_gradients import ImbalancedGradients
from reinforced.diagnostics.checks.loss_saturation import LossSaturation
from reinforced.diagnostics.checks.one_step import OneStep
from reinforced.diagnostics.checks.random_search import RandomSearched
from reinforced.diagnostics.checks.randomness import Randomness
from reinforced.diagnostics.checks.transfer import TransferCheck
from reinforced.diagnostics.checks.unbounded import Unbounded
from reinforced.diagnostics.checks.zero_gradients import ZeroGradients

CHECKS: tuple[type[Check], ...] = (
    ClaimLint,
    AttackLint,
    Randomness,
    Consistency,
    ZeroGradients,
    FiniteDifferences,
    LossSaturation,
    GradientAlignment,
    OneStep,
    ImbalancedGradients,
    Convergence,
    BPDA,
    Grid,
    EpsilonRising,
    Unbounded,
    RandomSearched,
    TransferCheck,
    BlackBox,
    Ensemble,
    Binarisation,
    CertificateCheck,
)

__all__ = ["CHECKS", "Check"]
