"""Train stable-baselines3's PPO on digits, import its policy, attack it with AutoAttack.

Needs ``pip install 'reinforced[rl]'``. The steps from the command line would be::

    reinforced import-policy runs/ppo.zip --source digits --run runs/ppo
    reinforced evaluate runs/ppo --threat linf:0.15 --attacks autoattack
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import reinforced
from reinforced.data import load, to_float
from reinforced.envs import ID
from reinforced.studies.policies import import_policy


def main() -> None:
    """Train, import, attack, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000, help="images to answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, default=Path("runs/ppo"), help="run directory to make")
    options = parser.parse_args()

    began = time.monotonic()
    images = make_vec_env(ID, n_envs=16, seed=options.seed, env_kwargs={"source": "digits"})
    # An answer changes nothing but its own reward, so nothing later is worth waiting for: gamma 0.
    agent = PPO(
        "MlpPolicy",
        images,
        gamma=0.0,
        n_steps=64,
        batch_size=128,
        learning_rate=1e-3,
        seed=options.seed,
        device="cpu",
    )
    agent.learn(options.steps)
    saved = options.run.with_suffix(".zip")
    saved.parent.mkdir(parents=True, exist_ok=True)
    agent.save(saved)
    print(f"PPO answered {agent.num_timesteps:,} images in {time.monotonic() - began:.1f} s: {saved}")

    imported = import_policy(saved, options.run, "digits")
    print(f"{imported.network}: test accuracy {imported.test_accuracy:.1%} on {imported.test_images} images")

    began = time.monotonic()
    test = load("digits").test
    stored, labels = test.batch(torch.arange(len(test)))
    pixels = to_float(stored).contiguous()
    model, threat = reinforced.load_model(options.run), reinforced.ThreatModel("linf", 0.15)
    found = reinforced.evaluate(model, pixels, labels, threat, attacks="autoattack")
    assert found is not None  # only shards of an evaluation can be without an outcome
    low, high = found.interval
    print(
        f"AutoAttack under {threat}: {found.robust_accuracy:.1%} of {len(labels)} images left, 95 % interval "
        f"[{low:.1%}, {high:.1%}], {time.monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    try:
        main()
    except reinforced.ReinforcedError as error:
        sys.exit(f"error: {error}")
