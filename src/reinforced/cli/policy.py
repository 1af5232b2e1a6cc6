"""The command that imports a policy: import-policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reinforced.cli.common import DataOption, say


def import_policy(
    policy: Annotated[Path, typer.Argument(help="What model.save() of stable-baselines3 wrote (.zip).")],
    source: Annotated[str, typer.Option(help="Data source it was trained on: digits, npz:FILE, ...")],
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory to make [default: runs/ and the file's name].")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square images, px.", min=1)] = None,
    activation: Annotated[
        str | None, typer.Option(help="Of the hidden layers, if not told by the file: tanh, relu, ...")
    ] = None,
    root: DataOption = None,
) -> None:
    """Make an MlpPolicy of PPO, A2C or DQN a run that every attack takes; nothing is unpickled."""
    from reinforced.studies.policies import import_policy as imported_from

    path = run or Path("runs") / policy.stem
    found = imported_from(policy, path, source, size=size, activation=activation, root=root)
    version = f" {found.policy.version}" if found.policy.version else ""
    say(
        f"{path}: {found.network} from the {found.policy.kind} of stable-baselines3{version}, test accuracy "
        f"{found.test_accuracy:.1%} on {found.test_images} images of {source}",
        f"next: reinforced evaluate {path} --threat {'digits' if source == 'digits' else 'standard'}",
    )
