"""Accuracy left by attacks: an evaluation like any other, its examples verified before it counts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.evaluation.job import folder_name
from reinforced.evaluation.records import AS_RELEASED
from reinforced.evaluation.released import stalled
from reinforced.evaluation.suites import Chosen, choose_attacks
from reinforced.studies.evaluations import Plan, evaluate_subject, remember_subject, verify_folder
from reinforced.studies.outcomes import image_outcomes
from reinforced.studies.reproduce.measures.base import Bench, Reading, Tested, digest, options, read_json
from reinforced.studies.sweep.cost import image_passes
from reinforced.training.run import RunDirectory

PROCEDURE = ("released", "stalled")
"""Figures of what ran as released."""


class Attack(Tested):
    """One figure of an evaluation; columns that name the same attacks share it."""

    measure: Literal["attack"]
    threat: str = setting(..., "the ball: linf:8/255")
    attacks: tuple[str, ...] = setting(..., "as on the command line", min_length=1)
    of: str = setting(
        "worst",
        "worst (per image, over all), released (the procedure as released), stalled (what that leaves "
        "where its median step is under 1 % of the nominal one), or one attack's name",
    )
    checkpoint: str = setting("last", "last, best, or a kept epoch")

    @property
    def epoch(self) -> str:
        """See :class:`Column`."""
        return self.checkpoint

    def check(self) -> None:
        """See :class:`Column`."""
        super().check()
        names = [attack.name for attack in self._chosen().sealed]
        if self.of in PROCEDURE and not self._chosen().released:
            raise ReinforcedError(f"column {self.id}: of: {self.of}, but none of its attacks is as released")
        if self.of not in ("worst", *PROCEDURE, *names):
            raise ReinforcedError(f"column {self.id}: of: {self.of}; give worst, released or {names[0]}")
        if self.of in names and self.of != "autoattack" and len(names) > 1:
            raise ReinforcedError(
                f"column {self.id}: {self.of} alone is measured alone: give it its own column"
            )

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`."""
        for folder, record in self._records(bench):
            value, sha256, right = self._figure(folder, record)
            setup = record["setup"]
            evidence = {"model": setup["model_sha256"], "data": setup["data_sha256"], "outcomes": sha256}
            return Reading(value, record["images"], evidence, tuple(map(int, right)))
        return None

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: an attack crashed, or an example does not hold.
        """
        threat, count = self._threat(), self.count(bench)
        source = bench.source(self.checkpoint, count, self.skip(count))
        subject = bench.subject(self.checkpoint, count, skip=self.skip(count))
        plan = Plan(self.attacks, {}, None, 0, False, (1, 1))
        folder, found = evaluate_subject(
            subject, threat, plan, lambda attack, chunk, _: told(f"{attack} {threat}, chunk {chunk + 1}")
        )
        assert found is not None  # one shard
        remember_subject(folder, str(bench.run), source, subject.classes)
        if found.incomplete or any(one.failed_batches for one in found.as_released):
            raise ReinforcedError(f"an attack crashed: see {folder / 'evaluation.json'}")
        told("verifying")
        checked = verify_folder(folder, bench.device)
        if not checked.holds:
            raise ReinforcedError(f"{folder}: an example does not hold: {checked.failures[0]}")

    def passes(self, images: int) -> float:
        """See :class:`Column`: the released procedure drops nothing."""
        chosen = self._chosen()
        sealed = sum(image_passes(attack) for attack in chosen.sealed) * self.standing
        return images * (sealed + sum(image_passes(attack) for attack in chosen.released))

    def command(self, images: int, test: str | None) -> str:
        """See :class:`Column`."""
        attacks = " ".join(shlex.quote(attack) for attack in self.attacks)
        return (
            f"reinforced evaluate RUN --threat {self.threat} --attacks {attacks} "
            f"{options(images, test, self.checkpoint, self.skip(images))}"
        )

    def _threat(self) -> ThreatModel:
        return ThreatModel.parse(self.threat)

    def _chosen(self) -> Chosen:
        return choose_attacks(self.attacks, self._threat())

    def _figure(self, folder: Path, record: Mapping[str, Any]) -> tuple[float, str, Iterable[bool]]:
        """The share left, the hash of what it was read from, and of each image whether it is left."""
        if self.of in PROCEDURE:
            claim = record["as_released"][0]
            if self.of == "stalled":
                left = stalled(folder, claim)
                return float(left.double().mean()), claim["sha256"], left.tolist()
            value, sha256 = claim["accuracy"], claim["sha256"]
            column = f"{claim['name']} ({AS_RELEASED})"
        else:
            own = {"worst": "robust_accuracy", "autoattack": "autoattack_accuracy"}
            value = record[own[self.of]] if self.of in own else record["attacks"][0]["accuracy"]
            sha256 = record["matrix_sha256"]
            column = "robust" if self.of == "worst" or len(record["attacks"]) == 1 else self.of
        return value, sha256, image_outcomes(folder, column, value).tolist()

    def _records(self, bench: Bench) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Finished and verified evaluations that are just this one, found by what they say of themselves."""
        chosen, model = self._chosen(), digest(bench.run, self.checkpoint)
        asked = {
            "threat": str(self._threat()),
            "as_released": [attack.name for attack in chosen.released],
            "seed": 0,
            "run_all": False,
            "model_sha256": model,
        }
        place = bench.run / "evaluations" / folder_name(str(self._threat()))
        for file in sorted(place.glob("*/evaluation.json")) if model is not None else ():
            record = read_json(file) or {}
            setup = {"as_released": [], **record["setup"]}
            released = record.get("as_released", ())
            whole = not record["incomplete"] and not any(one["failed_batches"] for one in released)
            if (
                whole
                and record["images"] == self.count(bench)
                and all(setup[key] == value for key, value in asked.items())
                and setup["attacks"] == [attack.name for attack in chosen.suited(setup["draws"])]
                and _verified(file.parent, record)
                and _subject(file.parent, bench) == (bench.data, self.skip(self.count(bench)))
            ):
                yield file.parent, record


def _subject(folder: Path, bench: Bench) -> tuple[str, int]:
    """The data source of an evaluation, by default the run's own, and how many images it passed over."""
    said = read_json(folder / "subject.json") or {}
    return str(said.get("data") or RunDirectory(bench.run).recipe.data.source), said.get("skip", 0)


def _verified(folder: Path, record: dict[str, Any]) -> bool:
    found = read_json(folder / "verification.json")
    return found is not None and found["holds"] and found["matrix_sha256"] == record["matrix_sha256"]
