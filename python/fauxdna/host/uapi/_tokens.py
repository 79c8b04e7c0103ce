"""Descriptors that stand for objects of the daemon: exported BOs, syncobjs, sync files.

A token is a sealed memfd opened for writing only: ``fstat`` and ``lseek`` tell the object's size, ``poll`` says ready, and what
could show its (empty) contents is refused: ``mmap`` and ``read`` for want of read access, ``write`` by the seal. It can be
passed on like any descriptor. Whether anybody still has it is asked of the kernel: a read lease is granted only on a file that
nobody has open for writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from itertools import islice
from typing import Final

from fauxdna.errors import InvalidArgument, OutOfSpace

_LOOKS: Final = 2
"""Old tokens that are looked at for each new one: more than are made, so none piles up."""


class Token:
    """A descriptor's inode and what it stands for. Lives while it is pinned, or a descriptor of it is open anywhere."""

    def __init__(self, kind: str, size: int, item: object, released: Callable[[], None], of: object) -> None:
        self.kind = kind
        self.item = item
        self.of = of
        self.pins = 1
        self.released = released
        try:
            fd = os.memfd_create(f"fauxdna-{kind}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise OutOfSpace(f"no descriptor for a {kind} ({error.strerror})", "close some", errno=error.errno) from error
        try:
            os.ftruncate(fd, size)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)

    def open(self) -> int:
        """A new descriptor."""
        return os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_CLOEXEC)

    def held(self) -> bool:
        """Whether a descriptor of it is open somewhere."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            return True
        fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def close(self) -> None:
        """Forgets the inode."""
        os.close(self._fd)


class Tokens:
    """All tokens of one die: what one sandbox exports another may import."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Token] = {}
        self._of: dict[object, Token] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def make(
        self, kind: str, size: int, item: object, *, released: Callable[[], None] = lambda: None, of: object = None
    ) -> Token:
        """A token for ``item``, pinned once; ``released`` is called when nobody has it any more.

        What there is a token ``of`` already gets that one again; the new one is released at once.
        """
        with self._lock:
            token = self._of.get(of) if of is not None else None
            if token is not None:
                token.pins += 1
                oldest = []
            else:
                token = Token(kind, size, item, released, of)
                self._known[token.identity] = token
                if of is not None:
                    self._of[of] = token
                oldest = list(islice(self._known.values(), _LOOKS))
        if token.released is not released:
            released()
        self._drop(oldest)
        return token

    def find(self, fd: int, kind: str, *, number: int = errno.EINVAL) -> Token:
        """The token behind our descriptor ``fd``, pinned once more; ``EINVAL`` for anything else."""
        status = os.fstat(fd)
        with self._lock:
            token = self._known.get((status.st_dev, status.st_ino))
            if token is not None and token.kind == kind:
                token.pins += 1
                return token
        raise InvalidArgument(f"the descriptor is no {kind} that this die's nodes exported", "pass one", errno=number)

    def descriptor(self, token: Token) -> int:
        """A new descriptor of a pinned token, for the program; the caller closes ours."""
        # Not while a lease is held: opening would break it, which is told by a signal.
        with self._lock:
            return token.open()

    def pin(self, token: Token) -> None:
        """Keeps a token that is kept already."""
        with self._lock:
            token.pins += 1

    def unpin(self, token: Token) -> None:
        """Undoes one :meth:`make`, :meth:`find` or :meth:`pin`."""
        with self._lock:
            token.pins -= 1
        self._drop([token])

    def sweep(self) -> None:
        """Drops what nobody has any more."""
        with self._lock:
            known = list(self._known.values())
        self._drop(known)

    def _drop(self, candidates: list[Token]) -> None:
        dropped = []
        with self._lock:
            for token in candidates:
                if token.identity not in self._known:
                    continue
                if token.pins or token.held():
                    # It goes to the end of the queue.
                    self._known[token.identity] = self._known.pop(token.identity)
                else:
                    del self._known[token.identity]
                    self._of.pop(token.of, None)
                    dropped.append(token)
        for token in dropped:
            token.close()
            token.released()
