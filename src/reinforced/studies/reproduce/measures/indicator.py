"""One statistic of a mechanism indicator."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.indicators.base import SUMMARY
from reinforced.diagnostics.indicators.measure import BY_STEP, FIGURES, RANGES
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.evaluation.identity import data_sha256, model_sha256
from reinforced.evaluation.job import folder_name
from reinforced.files import write_json
from reinforced.studies.mechanism import measure_subject
from reinforced.studies.reproduce.measures.base import (
    HERE,
    Bench,
    Column,
    Reading,
    Unit,
    digest,
    options,
    read_json,
    sha256,
)
from reinforced.studies.reproduce.measures.spread import Values, image_error

BATCH = 64
ENTROPIES = ("clean right", "clean wrong", "adversarial right", "adversarial wrong")
PASSES = 40
"""About what the static indicators take an image."""


class Indicator(Column):
    """A figure that ``reinforced indicators`` gives; columns of one threat share the measurement."""

    measure: Literal["indicator"]
    threat: str = setting(..., "the ball of neighbours and of the PGD path")
    name: str = setting(..., "gradient_norm(ce), logit_margin, entropy, ...")
    statistic: str = setting(
        "mean",
        "mean, zeros, q05 to q95 or another of its figures; step 5, the mean of its fifth value along the "
        "path; of entropy: clean right, adversarial wrong",
    )
    steps: int = setting(20, "of the PGD path", ge=1)

    @property
    def unit(self) -> Unit:
        """See :class:`Column`."""
        return "share" if self.statistic in ("zeros", "floored") else "number"

    @property
    def ends(self) -> tuple[float, float]:
        """See :class:`Column`; a mean or a quantile lies where the values do."""
        if self.name == "entropy":
            return 0.0, math.inf
        own = self.statistic in FIGURES[self.name]
        known = super().ends
        return known if self.unit == "share" else RANGES.get(self.statistic if own else self.name, known)

    def check(self) -> None:
        """See :class:`Column`."""
        ThreatModel.parse(self.threat)
        names = {"entropy": (), **FIGURES}
        if self.name not in names:
            near = did_you_mean(self.name, names)
            raise ReinforcedError(f"column {self.id}: no indicator {self.name!r}{near}")
        known = ENTROPIES if self.name == "entropy" else self._figures()
        if self.statistic not in known:
            near = did_you_mean(self.statistic, known)
            raise ReinforcedError(f"column {self.id}: {self.name} has no {self.statistic!r}{near}")

    def _figures(self) -> tuple[str, ...]:
        own = [figure for figure in FIGURES[self.name] if figure != BY_STEP]
        steps = self.steps if BY_STEP in FIGURES[self.name] else 0
        return (*SUMMARY, *own, *(f"step {at}" for at in range(1, steps + 1)))

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`."""
        about = read_json(self._folder(bench) / "about.json")
        if about is None or about["model"] != digest(bench.run, "last"):
            return None
        record = read_json(self._file(bench)) or {}
        if self.name == "entropy":
            kinds = {f"{one['images']} {one['prediction']}": one for one in record["entropy"]}
            found, statistic = kinds, self.statistic
        else:
            found, statistic = record["indicators"], self.name
        if statistic not in found:
            raise ReinforcedError(
                f"column {self.id}: no indicator {statistic!r}{did_you_mean(statistic, found)}"
            )
        figures = dict(found[statistic])
        figures |= {f"step {at}": mean for at, mean in enumerate(figures.get("by_step", ()), 1)}
        key = "mean" if self.name == "entropy" else self.statistic
        if key not in figures:
            raise ReinforcedError(f"column {self.id}: {self.name} has no {key!r}{did_you_mean(key, figures)}")
        value = figures[key]
        evidence = {name: about[name] for name in ("model", "data")}
        evidence["outcomes"] = sha256(f"{self.name} {self.statistic} {value!r}")
        if value is None:  # on every image, such as the entropy of wrong predictions where there are none
            return Reading("undefined", self.count(bench), evidence)
        of_images = self.unit != "share" and "image" in figures.get("axes", ["image"])
        error = image_error(self._values(bench), key) if of_images else None
        return Reading(value, self.count(bench), evidence, error=error)

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`."""
        subject = bench.subject("last", self.count(bench))
        threat = ThreatModel.parse(self.threat)
        measure_subject(
            subject, threat, self._folder(bench), steps=self.steps, seed=0, batch=BATCH, told=told
        )
        # Last, so that what a kill has left is measured again.
        about = {
            "model": model_sha256(subject.model),
            "data": data_sha256(subject.images, subject.labels),
        }
        write_json(self._folder(bench) / "about.json", about)

    def passes(self, images: int) -> float:
        """See :class:`Column`."""
        return images * (PASSES + 2.0 * self.steps)

    def command(self, images: int, test: str | None) -> str:
        """See :class:`Column`."""
        end = options(images, test, "last")
        return f"reinforced indicators RUN --threat {self.threat} --steps {self.steps} {end}"

    def _values(self, bench: Bench) -> Values:
        """The figure's values image by image, (N,) or (steps, N)."""
        with np.load(self._file(bench).with_suffix(".npz"), allow_pickle=False) as kept:
            if self.name != "entropy":
                return np.asarray(kept[self.name], dtype=np.float64)
            images, prediction = self.statistic.split()
            which = ("clean", "adversarial").index(images)
            right = kept["right"][which]
            return np.asarray(kept["entropy"][which][right if prediction == "right" else ~right])

    def _folder(self, bench: Bench) -> Path:
        return bench.run / HERE / f"indicators-{folder_name(self.threat)}-{self.count(bench)}-{self.steps}"

    def _file(self, bench: Bench) -> Path:
        return self._folder(bench) / f"{folder_name(str(ThreatModel.parse(self.threat)))}.json"
