"""Image classifiers trained by reinforcement learning, and a judge of their robustness."""

__version__ = "0.1.0"
