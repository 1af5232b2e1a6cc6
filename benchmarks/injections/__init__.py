"""Kinds of faults for ``faults.py``: each module injects some, and says what came of them."""
