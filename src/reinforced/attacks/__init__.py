"""Attacks under a threat model: each proposes candidates, the sealed runner scores them."""
