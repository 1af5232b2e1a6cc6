"""Recipes, the training loop and run directories."""
