"""``python -m fauxdna``."""

from .cli import main

main()
