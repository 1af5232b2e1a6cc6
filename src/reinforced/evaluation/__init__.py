"""Robust accuracy that can be believed: attacks run, every example kept, every example checked again."""
