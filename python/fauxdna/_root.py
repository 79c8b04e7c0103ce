"""What ``--root`` of ``fauxdna exec`` names."""

from __future__ import annotations

import sys

FETCHED = "trixie"
"""Debian 13 with XRT: fetched once, by an ordinary user; guests run on the same."""


def find_root(name: str) -> str:
    """The directory of a system; ``FauxdnaError`` where one that has to be fetched can't be."""
    if name != FETCHED:
        return name
    from .cache import cache_folder

    there = cache_folder() / "vm" / FETCHED
    if there.is_dir():
        # Without the modules that could fetch it: programs start sooner.
        return str(there)
    from .vm.root import TRIXIE, guest_root

    return str(guest_root(TRIXIE, lambda text: print(f"fauxdna: {text}", file=sys.stderr)))
