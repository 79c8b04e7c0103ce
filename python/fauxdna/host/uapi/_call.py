"""What a door hands over: one intercepted ioctl, and what may be asked of its caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Call(Protocol):
    """An ioctl whose caller waits for :meth:`reply`. ``fauxdna._core.Call`` is one."""

    @property
    def node(self) -> int:
        """Which of the sandbox's nodes it was made on."""
        ...

    @property
    def client(self) -> int:
        """The open file: shared by ``dup``, ``fork`` and SCM_RIGHTS, and never used again."""
        ...

    @property
    def request(self) -> int:
        """The ioctl number."""
        ...

    @property
    def argument(self) -> int:
        """The user pointer."""
        ...

    @property
    def pid(self) -> int:
        """The caller's process."""
        ...

    @property
    def tid(self) -> int:
        """The caller's thread."""
        ...

    def data(self) -> bytes:
        """The bytes at ``argument`` that the ioctl number speaks of, read once; ``OSError(EFAULT)``."""
        ...

    def read(self, address: int, length: int) -> bytes:
        """Memory of the caller; ``OSError(EFAULT)``."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Writes memory of the caller; ``OSError(EFAULT)``."""
        ...

    def get_fd(self, fd: int) -> int:
        """A descriptor of ours for the caller's ``fd``, which we close; ``OSError(EBADF)``."""
        ...

    def add_fd(self, fd: int, cloexec: bool) -> int:
        """Installs ``fd`` in the caller and gives its number there; ``OSError(EMFILE)``."""
        ...

    def memory_fd(self) -> int:
        """``/proc/PID/mem`` of the caller, opened for reading and writing, which we close."""
        ...

    def interruptible(self, ended: Callable[[], object] | None = None) -> None:
        """From now on a signal ends the call with ERESTARTSYS. ``ended()`` is called if it ends without :meth:`reply`."""
        ...

    def reply(self, error: int = 0) -> object:
        """Ends the call: 0, or an errno."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the caller still waits."""
        ...
