"""``python -m reinforced``: what torchrun starts."""

from reinforced.cli import main

main()
