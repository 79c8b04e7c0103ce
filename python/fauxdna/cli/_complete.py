"""What the shell offers for options that are no fixed choice; where nothing fits it offers files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path


def words(*choices: str) -> Callable[[str], list[str]]:
    """Offers ``choices``."""
    return lambda incomplete: _starting(incomplete, choices)


def devices(incomplete: str) -> list[str]:
    """Offers the nodes of this machine."""
    return _starting(incomplete, sorted(map(str, Path("/dev/accel").glob("accel*"))))


def dies(incomplete: str) -> list[str]:
    """Offers the place where ``fauxdna serve`` listens unless it is told otherwise, if it does."""
    from ..host._wire import default_socket

    place = Path(default_socket())
    return _starting(incomplete, [str(place)] if place.is_socket() else [])


def faults(incomplete: str) -> list[str]:
    """Offers kinds of faults."""
    from ..serve import FaultKind

    return _starting(incomplete, FaultKind)


def _starting(incomplete: str, choices: Iterable[str]) -> list[str]:
    return [str(choice) for choice in choices if choice.startswith(incomplete)]
