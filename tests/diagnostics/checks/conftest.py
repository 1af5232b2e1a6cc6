from __future__ import annotations

# Beside this file: pytest puts its folder on the path, mypy does not.
from tests.diagnostics.checks.defences import case_for, model_named

__all__ = ["case_for", "model_named"]
