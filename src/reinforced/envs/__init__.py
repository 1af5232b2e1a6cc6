"""Classification as a Gymnasium environment; importing this registers ``reinforced/Classification-v0``.

``gymnasium.make("reinforced.envs:reinforced/Classification-v0")`` imports it by itself.
"""

from __future__ import annotations

import gymnasium

ID = "reinforced/Classification-v0"

__all__ = ["ID"]

if ID not in gymnasium.registry:  # a reload must not warn
    gymnasium.register(
        ID,
        # By name, so that listing environments costs no torch.
        entry_point="reinforced.envs.classification:ClassificationEnv",
        vector_entry_point="reinforced.envs.vector:ClassificationVectorEnv",
    )
