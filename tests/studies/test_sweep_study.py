from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.shares import Node, divide
from reinforced.studies.sweep.study import (
    Diagnose,
    Evaluate,
    Resources,
    Study,
    entries_of,
    load_study,
    study_yaml,
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "studies"
GRID = {"recipes": ["quickstart/sl", "quickstart/rl"], "overrides": {"optimizer.lr": [0.001, 0.003]}}


def study_of(folder: Path, **values: Any) -> Study:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({"schema": 1, "grid": GRID, **values}))
    return load_study(file)


def refused(folder: Path, **values: Any) -> str:
    with pytest.raises(ReinforcedError) as caught:
        entries_of(study_of(folder, **values), folder, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_can_be_run(file: Path, tmp_path: Path) -> None:
    study = load_study(file)
    assert study.name == file.stem
    assert entries_of(study, file.parent, tmp_path)


def test_there_are_examples() -> None:
    assert list(EXAMPLES.glob("*.yaml"))


def test_the_documented_study_is_one_and_names_every_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert Study.model_validate(yaml.safe_load(block)).diagnose is not None
    named = set(re.findall(r"`(\w+)", text))
    assert set(Study.model_fields) - {"schema_version"} <= named
    assert set(Evaluate.model_fields) | set(Diagnose.model_fields) <= named


def test_a_grid_in_order_then_the_list(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        seeds=[0, 1],
        overrides={"phases.0.epochs": 2, "batch_size": 32},
        entries=[{"recipe": "quickstart/sl-adv", "overrides": {"batch_size": 16}, "seeds": [7]}],
    )
    entries = entries_of(study, tmp_path, tmp_path)
    assert [entry.name for entry in entries] == [
        *(
            f"quickstart-{recipe}-optimizer.lr-{rate}-seed{seed}"
            for recipe in ("sl", "rl")
            for rate in (0.001, 0.003)
            for seed in (0, 1)
        ),
        "quickstart-sl-adv-batch_size-16-seed7",
    ]
    first, last = entries[0].recipe, entries[-1].recipe
    assert (first.seed, first.optimizer.lr, first.batch_size, first.phases[0].epochs) == (0, 0.001, 32, 2)
    assert (last.seed, last.batch_size, last.phases[0].epochs) == (7, 16, 2)
    assert entries[0].run == tmp_path / "runs" / entries[0].name


def test_names_tell_apart_what_they_cannot_spell(tmp_path: Path) -> None:
    augments = [{"translate": 0.1}, {"translate": 0.2}]
    study = study_of(
        tmp_path,
        grid={"recipes": ["baselines/pgd-at", "baselines/pgd-at+gradient-penalty"]},
        entries=[{"recipe": "quickstart/sl", "overrides": {"data.augment": one}} for one in augments],
    )
    names = [entry.name for entry in entries_of(study, tmp_path, tmp_path)]
    assert len(set(names)) == 4
    assert names[0] == "baselines-pgd-at-seed0"


def test_recipe_files_lie_beside_the_study(tmp_path: Path) -> None:
    recipe = {"schema": 1, "data": {"source": "digits"}, "model": {"name": "tiny"}, "phases": [{"epochs": 1}]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe))
    study = study_of(tmp_path, grid={"recipes": ["own.yaml"]})
    (entry,) = entries_of(study, tmp_path, tmp_path)
    assert (entry.name, entry.recipe.name) == ("own-seed0", "own")


def test_a_study_reads_back_equal(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        evaluate={"threats": ["digits", "l2:0.5"], "attacks": ["fgsm"], "images": 64},
        diagnose={"claim": "pgd@linf:0.15", "budget": "quick"},
        resources={"cpus": 2, "gpus": 0.5},
    )
    (tmp_path / "again.yaml").write_text(study_yaml(study))
    assert load_study(tmp_path / "again.yaml") == study


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"evalute": {}}, "evalute: unknown field; did you mean 'evaluate'?"),
        ({"grid": None}, "no runs: give a grid, or entries"),
        ({"grid": {"recipes": ["quickstart/sx"]}}, "did you mean 'quickstart/sl'?"),
        ({"grid": {**GRID, "overrides": {"optimizer.lr": []}}}, "optimizer.lr takes no value"),
        ({"grid": {**GRID, "overrides": {"optimizer.l": [1]}}}, "did you mean 'lr'?"),
        ({"grid": {**GRID, "overrides": {"seed": [1]}}}, "give `seeds` in its place"),
        ({"seeds": [0, 0]}, "is in it twice"),
        ({"seeds": []}, "seeds: "),
        ({"retries": -1}, "retries: "),
        ({"size": "cpus"}, "has no size 'cpus'"),
        ({"schema": 2}, "upgrade reinforced"),
        ({"evaluate": {"threats": ["linf"]}}, "evaluate: "),
        ({"evaluate": {"attacks": ["pdg"]}}, "did you mean 'pgd'?"),
        ({"evaluate": {"threats": ["l2:1"], "attacks": ["rays"]}}, "does not work in l2"),
        ({"diagnose": {"claim": "pgd"}}, "diagnose.claim: "),
        ({"diagnose": {"claim": "pgd@linf:0.1", "budget": "slow"}}, "diagnose.budget: "),
        ({"resources": {"gpus": 2}}, "resources.gpus: "),
    ],
)
def test_refused_with_one_line(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, **values)


def test_files_that_are_no_study(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    for text, said in (("- 1", "a study is a mapping"), ("a: [", "not YAML"), ("\0", "not YAML")):
        file.write_text(text)
        with pytest.raises(ReinforcedError, match=said):
            load_study(file)
    with pytest.raises(ReinforcedError, match="no study file"):
        load_study(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("asked", "entries", "nodes", "asked_workers", "workers", "threads", "gpus"),
    [
        ({}, 12, [(2, 0)], None, 2, 1, 0),
        ({}, 2, [(16, 0)], None, 2, 8, 0),
        ({"cpus": 3}, 12, [(16, 0)], None, 5, 3, 0),
        ({}, 12, [(16, 4)], None, 4, 4, 1),
        ({"gpus": 0.5}, 12, [(16, 2)], None, 4, 4, 0.5),
        ({"gpus": 0}, 12, [(4, 2)], None, 4, 1, 0),
        ({}, 1, [(8, 0), (8, 0)], None, 1, 8, 0),
        ({}, 12, [(2, 0)], 1, 1, 2, 0),
        ({}, 0, [(2, 0)], None, 1, 2, 0),
        # No worker is spread over two GPUs or two nodes.
        ({"gpus": 0.6}, 12, [(16, 2)], None, 2, 8, 0.6),
        ({"gpus": 0.3}, 12, [(16, 2)], None, 6, 2, 0.3),
        ({}, 5, [(16, 0)] * 4, None, 5, 8, 0),
        ({"cpus": 12}, 12, [(16, 0)] * 4, None, 4, 12, 0),
        ({}, 12, [(64, 0), (8, 2)], None, 2, 4, 1),
        # More workers than GPUs share them.
        ({}, 12, [(8, 1)], 4, 4, 2, 0.25),
        ({}, 12, [(8, 2)], 5, 5, 1, 0.3333),
    ],
)
def test_cores_and_gpus_are_divided(
    asked: dict[str, Any],
    entries: int,
    nodes: list[tuple[int, int]],
    asked_workers: int | None,
    workers: int,
    threads: int,
    gpus: float,
) -> None:
    given = [Node(*node) for node in nodes]
    share = divide(Resources(**asked), given, entries=entries, workers=asked_workers)
    assert (share.workers, share.threads, share.gpus) == (workers, threads, gpus)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, ["4", "4", "6", "6"]),
        (0.6, ["4", "6"]),
        (0.3, ["4", "4", "4", "6", "6", "6"]),
        (0.3333, ["4", "4", "4", "6", "6", "6"]),
    ],
)
def test_every_worker_sees_its_gpu_alone(share: float, expected: list[str]) -> None:
    found = divide(Resources(gpus=share), [Node(8, 2)], entries=9)
    assert [found.visible(worker, ["4", "6"]) for worker in range(found.workers)] == expected
    assert divide(Resources(gpus=0), [Node(1, 1)], entries=1).visible(0, ["4"]) == ""


@pytest.mark.parametrize(
    ("asked", "workers", "said"),
    [
        ({"cpus": 9}, None, "there are 8 cores"),
        ({"gpus": 1}, None, "there are 0 GPUs"),
        ({}, 9, "--workers 9: there is room for 8 with 1 cores each"),
    ],
)
def test_more_than_there_is_is_refused(asked: dict[str, Any], workers: int | None, said: str) -> None:
    with pytest.raises(ReinforcedError, match=said):
        divide(Resources(**asked), [Node(8, 0)], entries=1, workers=workers)
