from __future__ import annotations

from tests.diagnostics.checks.defences import case_for, model_named

__all__ = ["case_for", "model_named"]
