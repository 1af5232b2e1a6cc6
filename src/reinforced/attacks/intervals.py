"""Intervals for proportions: every robust accuracy is reported with one."""

from __future__ import annotations

from reinforced.errors import ReinforcedError


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval for a binomial proportion (Clopper & Pearson 1934, Biometrika 26).

    Args:
        successes: images counted, of ``n``.
        n: images in all; 0 gives (0, 1).
        confidence: of the two-sided interval, in (0, 1).

    Returns:
        ``(low, high)``, fractions.

    Raises:
        ReinforcedError: successes outside 0..n, or a confidence outside (0, 1).
    """
    from scipy.stats import beta  # noqa: PLC0415  # 0.5 s that commands without intervals need not wait

    if not 0 <= successes <= n:
        raise ReinforcedError(f"interval: {successes} successes of {n}; successes lie in 0..n")
    if not 0 < confidence < 1:
        raise ReinforcedError(f"interval: confidence {confidence:g}; pass a fraction in (0, 1), such as 0.95")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high
