"""Diagnostics: what a model does around its images, measured rather than claimed."""
