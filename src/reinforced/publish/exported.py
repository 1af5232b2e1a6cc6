"""An exported folder back into a classifier, without ever running code that the folder names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import model_sha256
from reinforced.models import build, channels_last

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def load_exported(folder: str | Path, *, network: str | None = None) -> nn.Module:
    """The classifier of a folder that ``reinforced export`` wrote, in eval mode on the CPU.

    It takes images (N, C, H, W) in [0,1] and returns logits (N, K); the normalisation is inside.

    Args:
        folder: its place, such as what ``huggingface_hub.snapshot_download`` returns.
        network: ``module:function`` of your own code, for a model that was made by such code: the folder
            may come from anyone, so the name it gives is never imported by itself.

    Raises:
        ReinforcedError: no exported folder, a damaged one, or a model of code that was not named.
    """
    folder = Path(folder)
    config = read_config(folder)
    named = config["network"]
    if network is None and ":" in named and not named.startswith(("timm:", "mlp:")):
        raise ReinforcedError(
            f"{folder} is a model of its maker's own code; get that code, read it, and name it: "
            f"load_exported(..., network={named!r})"
        )
    channels, height, width = config["shape"]
    model = build(
        network or named,
        shape=(channels, height, width),
        classes=len(config["classes"]),
        weights=folder / WEIGHTS,
        normalize=config["normalize"],
    ).eval()
    if model_sha256(model) != config["model_sha256"]:
        raise ReinforcedError(f"{folder / WEIGHTS}: not the weights that were exported; get the folder again")
    return channels_last(model, (channels, height, width), len(config["classes"]))


def read_config(folder: Path) -> dict[str, Any]:
    """What an exported folder says of its model.

    Raises:
        ReinforcedError: it says nothing, or is damaged.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ReinforcedError(f"{folder} is no exported model (it has no {CONFIG}); see `reinforced export`")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        valid = (
            all(isinstance(config[key], str) for key in ("network", "normalize", "model_sha256"))
            and [type(side) for side in config["shape"]] == [int, int, int]
            and isinstance(config["classes"], list)
        )
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise ReinforcedError(f"{file}: damaged; get the folder again")
    return dict(config)
