"""Any network of timm, named ``timm:NAME``."""

from __future__ import annotations

import difflib
import threading
from typing import Any

from torch import nn

from reinforced.errors import ReinforcedError
from reinforced.models.layers import Shape

_WEIGHTS = "model.safetensors"


def timm_network(name: str, shape: Shape, classes: int, pretrained: bool) -> nn.Module:
    """timm's network ``name`` for ``shape`` (C, H, W) and ``classes``, by ``timm.create_model``.

    With ``pretrained`` the weights come from the Hugging Face cache or hub; the head is fresh where
    ``classes`` differ from those it was trained for.

    Raises:
        ReinforcedError: unknown name, no weights of that kind, hub out of reach, or timm's refusal.
    """
    import timm  # noqa: PLC0415 - takes seconds, and most runs do without

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.5)
        hint = f"did you mean 'timm:{near[0]}'?" if near else "timm.list_models() names them all"
        raise ReinforcedError(f"timm has no network {name!r}; {hint}")
    try:
        network: nn.Module = timm.create_model(
            name,
            pretrained=pretrained,
            num_classes=classes,
            in_chans=shape[0],
            pretrained_cfg_overlay=_pretrained_file(name) if pretrained else None,
        )
    except ReinforcedError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())
        raise ReinforcedError(f"timm cannot build {name!r}: {detail}; try timm:resnet18") from error
    return network


def _pretrained_file(name: str) -> dict[str, Any] | None:
    """What to lay over timm's record so that cached weights need no network; None to download."""
    import timm  # noqa: PLC0415
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415

    record = timm.get_pretrained_cfg(name)
    if record is None or not record.has_weights:
        raise ReinforcedError(f"timm has no pretrained weights for {name!r}; drop pretrained")
    repository = record.hf_hub_id
    cached = try_to_load_from_cache(repository, _WEIGHTS) if repository else None
    if isinstance(cached, str):
        return {"file": cached}
    if constants.HF_HUB_OFFLINE:
        raise ReinforcedError(f"timm:{name} is not in the cache and HF_HUB_OFFLINE is set; unset it once")
    if not hub_answers():
        raise ReinforcedError(
            f"{constants.ENDPOINT} did not answer within 3 s and timm:{name} is not in the cache; "
            "go online once, or give weights=FILE"
        )
    return None


def hub_answers(seconds: float = 3.0) -> bool:
    """Whether the Hugging Face hub answers within ``seconds``; timm itself would try for about 45 s."""
    from huggingface_hub import constants, get_session  # noqa: PLC0415

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=seconds)
        except Exception:  # any failure means the same: no weights from there
            return
        answered.set()

    # In a thread, because no timeout of the client covers looking the host's name up.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()
