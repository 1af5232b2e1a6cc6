"""Experiment trackers: a run's figures in TensorBoard or MLflow, beside the run directory and never in it."""

from reinforced.training.trackers.tracking import Tracking, attach_report, tracked

__all__ = ["Tracking", "attach_report", "tracked"]
