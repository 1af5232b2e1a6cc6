"""Small defences with known answers, to calibrate the judge on. A new one is one file and one name here."""

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence
from reinforced.zoo.distilled import DISTILLED
from reinforced.zoo.dropout import DROPOUT
from reinforced.zoo.fgsm_at import FGSM_AT
from reinforced.zoo.input_noise import INPUT_NOISE
from reinforced.zoo.k_winners import K_WINNERS
from reinforced.zoo.label_smoothed import LABEL_SMOOTHED
from reinforced.zoo.log_probabilities import LOG_PROBABILITIES, LOG_PROBABILITIES_PGD_AT
from reinforced.zoo.pgd_at import PGD_AT
from reinforced.zoo.quantised import QUANTISED
from reinforced.zoo.scaled import SCALED, SCALED_PGD_AT
from reinforced.zoo.smoothed import SMOOTHED
from reinforced.zoo.supervised import SUPERVISED
from reinforced.zoo.trades import TRADES
from reinforced.zoo.vote import VOTE
from reinforced.zoo.zero_backward import ZERO_BACKWARD, ZERO_BACKWARD_PGD_AT

DEFENCES: tuple[Defence, ...] = (
    SUPERVISED,
    PGD_AT,
    SCALED,
    LOG_PROBABILITIES,
    ZERO_BACKWARD,
    QUANTISED,
    INPUT_NOISE,
    LABEL_SMOOTHED,
    TRADES,
    FGSM_AT,
    DISTILLED,
    DROPOUT,
    K_WINNERS,
    VOTE,
    SMOOTHED,
    SCALED_PGD_AT,
    LOG_PROBABILITIES_PGD_AT,
    ZERO_BACKWARD_PGD_AT,
)

__all__ = ["DEFENCES", "Bases", "Defence"]
