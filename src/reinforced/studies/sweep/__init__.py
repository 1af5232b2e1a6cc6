"""Sweeps: recipes x overrides x seeds, each trained, evaluated and diagnosed, here or on a Ray cluster."""
