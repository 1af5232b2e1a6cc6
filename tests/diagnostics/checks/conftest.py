from __future__ import annotations

# Beside this file: pytest puts its folder on the path, mypy does not.
from defences import case_for, model_named  # type: ignore[import-not-found]

__all__ = ["case_for", "model_named"]
