"""Where things are kept that take long to fetch or to make: folders that appear whole, made by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FauxdnaError, OutOfSpace


def cache_folder() -> Path:
    """``$FAUXDNA_CACHE``, or ``fauxdna`` under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    override = os.environ.get("FAUXDNA_CACHE")
    if override:
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fauxdna"


def made_once(
    target: Path,
    make: Callable[[Path], None],
    waiting: Callable[[], object] | None = None,
    *,
    intact: Callable[[Path], bool] = Path.exists,
) -> Path:
    """``target``, filled by ``make`` if it is not there. ``make`` gets an empty folder, which is renamed when it returns.

    Processes that want the same folder wait for the one that makes it; ``waiting`` is called then. What a killed process left is
    removed, and so is a ``target`` that is not ``intact``: it is made anew.

    Raises:
        OutOfSpace: the folder of the cache is full.
        FauxdnaError: it can't be written for another reason.
    """
    if intact(target):
        return target
    with _named_errors(target.parent), locked(target.with_name(target.name + ".lock"), waiting):
        if intact(target):
            return target
        if target.exists():
            shutil.rmtree(target)
        for stale in target.parent.glob(f"{target.name}.part-*"):
            shutil.rmtree(stale, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        part.chmod(0o755)
        try:
            make(part)
            os.sync()  # So that a machine that loses its power has no folder of empty files.
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return target


@contextmanager
def locked(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Holds an exclusive lock on a file, which is made if it is not there; ``waiting`` is called if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """What the system says of files in the cache, as an error that names the remedy."""
    try:
        yield
    except FauxdnaError:
        raise
    except OSError as error:
        name = Path(error.filename or folder)
        if not name.is_relative_to(cache_folder()) and not cache_folder().is_relative_to(name):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (OutOfSpace if full else FauxdnaError)(
            f"{name}: {error.strerror}",
            ("free some space there, or " if full else "") + "name another folder in FAUXDNA_CACHE",
            errno=error.errno,
        ) from error
