"""An exported folder onto the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from reinforced.errors import ReinforcedError


def check_push(repository: str) -> None:
    """Whether a push could begin, before anything is exported; asks nothing of the network.

    Raises:
        ReinforcedError: ``repository`` is not ORG/NAME, or this machine has no token.
    """
    from huggingface_hub import get_token  # noqa: PLC0415 - slow to import

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository, re.ASCII):
        raise ReinforcedError(f"--push {repository}: write ORG/NAME, letters, digits, '-', '_' and '.' only")
    if get_token() is None:
        raise ReinforcedError("--push needs a Hugging Face token: `hf auth login`, or set HF_TOKEN")


def push(folder: Path, repository: str, files: tuple[str, ...]) -> str:
    """Upload ``files`` of an exported folder; a repository that is not there is made, private.

    Returns:
        The address of the commit.

    Raises:
        ReinforcedError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415

    client = HfApi()
    try:
        client.create_repo(repository, private=True, exist_ok=True)
        commit = client.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message="Export from reinforced",
        )
    except Exception as error:  # its HTTP library's errors among them, and which that is has changed
        said = (str(error).strip().splitlines() or [""])[0]
        raise ReinforcedError(
            f"not pushed to {repository} ({type(error).__name__}: {said}); {folder} is complete: push "
            f"again, or `hf upload {repository} {folder}`"
        ) from error
    return str(commit)
