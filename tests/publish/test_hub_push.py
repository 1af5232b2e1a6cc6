"""Pushing to the Hub, against a stub of its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from reinforced.errors import ReinforcedError
from reinforced.publish.hub import check_push, push


class Client:
    """Remembers what it was asked for."""

    asked: list[tuple[str, Any]]
    error: Exception | None = None

    def create_repo(self, repository: str, **options: Any) -> None:
        Client.asked.append(("create_repo", (repository, options)))
        if Client.error is not None:
            raise Client.error

    def upload_folder(self, **options: Any) -> str:
        Client.asked.append(("upload_folder", options))
        return "https://hub.invalid/org/name/commit/1"


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    Client.asked, Client.error = [], None


def test_only_the_export_is_uploaded_to_a_private_repository(tmp_path: Path) -> None:
    assert push(tmp_path, "org/name", ("README.md", "model.safetensors")).endswith("/commit/1")
    (create, upload) = Client.asked
    assert create == ("create_repo", ("org/name", {"private": True, "exist_ok": True}))
    assert upload[1]["repo_id"] == "org/name"
    assert upload[1]["allow_patterns"] == ["README.md", "model.safetensors"]


@pytest.mark.parametrize("name", ["name", "org/name/more", "org/", "../name", "org/na me", ""])
def test_a_bad_name_is_one_line(name: str) -> None:
    with pytest.raises(ReinforcedError, match="write ORG/NAME"):
        check_push(name)


def test_a_missing_token_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    check_push("org/name")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ReinforcedError, match="needs a Hugging Face token"):
        check_push("org/name")
    assert not Client.asked


@pytest.mark.parametrize(
    "error", [ConnectionError("no route\nto host"), RuntimeError("401 Client Error"), OSError()]
)
def test_what_the_client_raises_is_one_line(error: Exception, tmp_path: Path) -> None:
    Client.error = error
    with pytest.raises(ReinforcedError, match="not pushed to org/name") as raised:
        push(tmp_path, "org/name", ("README.md",))
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)
