"""Where things are kept that take long to fetch or to make: folders that appear whole, made by one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """``$FAUXDNA_CACHE``, or ``fauxdna`` under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    override = os.environ.get("FAUXDNA_CACHE")
    if override:
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fauxdna"


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """``target``, filled by ``make`` if it is not there. ``make`` gets an empty folder, which is renamed when it returns.

    Processes that want the same folder wait for the one that makes it. What a killed process left is removed.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        for stale in target.parent.glob(f"{target.name}.part-*"):
            shutil.rmtree(stale, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        part.chmod(0o755)
        try:
            make(part)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
