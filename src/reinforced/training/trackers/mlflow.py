"""MLflow: one run of the experiment ``reinforced``, written by accelerate, in SQLite by default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Read when mlflow is imported: it reports its use to its makers, and announces each table of a new database.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow
from accelerate.tracking import MLflowTracker

from reinforced.training.trackers.base import Named

# As the user gave it: mlflow.set_tracking_uri writes it too.
GIVEN = os.environ.get("MLFLOW_TRACKING_URI")
EXPERIMENT = "reinforced"
BEGAN = "reinforced.began"


class MLflow:
    """``FOLDER/mlflow.db`` and, for files, ``FOLDER/mlflow-artifacts``; or what MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, run: Named) -> None:
        artifacts = None
        if GIVEN is None:
            folder.mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
            artifacts = (folder.resolve() / "mlflow-artifacts").as_uri()
        self._client = mlflow.MlflowClient()
        self._tracker = MLflowTracker(
            EXPERIMENT,
            logging_dir=artifacts,
            run_id=self._find(run),
            run_name=run.name,
            tags={BEGAN: run.began},
        )
        self._tracker.start()
        self._id = self._tracker.tracker.info.run_id

    def _find(self, run: Named) -> str | None:
        """The run that an earlier process has begun."""
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        found = self._client.search_runs([experiment.experiment_id], f"tags.`{BEGAN}` = '{run.began}'")
        return next((one.info.run_id for one in found if one.info.run_name == run.name), None)

    def last_step(self, figure: str) -> int:
        """Of any process."""
        return max((one.step for one in self._client.get_metric_history(self._id, figure)), default=0)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Metrics."""
        self._tracker.log(dict(figures), step=step)

    def begin(self, recipe: Path, settings: Mapping[str, Any]) -> None:
        """The artifact ``recipe.yaml``, and the settings as parameters."""
        if not self._client.list_artifacts(self._id, recipe.name):
            self._tracker.store_init_configuration(dict(settings))
            mlflow.log_artifact(str(recipe))

    def attach(self, page: Path, summary: str, step: int) -> None:  # noqa: ARG002 - the page says it all
        """An artifact, which takes the place of an earlier one of its name."""
        mlflow.log_artifact(str(page))

    def close(self) -> None:
        """End it; a later process may go on with it."""
        self._tracker.finish()
