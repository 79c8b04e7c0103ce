"""What can go wrong, and what kind of "no" it is.

::

    FauxdnaError(OSError)         errno as Linux 7.2 gives it, the problem, and a remedy
    ├── Misuse                    the caller asked for something that can't be: fix the call
    │   ├── InvalidArgument       EINVAL
    │   │   └── InvalidInput      a ValueError too: a model (CompileError), a program (ProgramError), an ELF (ElfError)
    │   ├── NotFound              ENOENT (handles, files); EINVAL where Linux says so
    │   ├── Busy                  EBUSY, EPERM: in use by someone
    │   └── OutOfSpace            ENOSPC, ENOMEM: a limit of the device or of the host (BufferTooSmall: of the caller's buffer)
    ├── Unsupported               EOPNOTSUPP: this function, or Linux 7.2's driver, has no such operation
    ├── UndefinedByHardware       EINVAL: AIE4 gives these values no meaning
    └── DeviceError               the device or its firmware failed or refused
        ├── DeviceTimeout         ETIME, ETIMEDOUT: no answer in time
        ├── DeviceGone            ENODEV: removed, stopped, or never there
        ├── FirmwareRefused       EIO: PSP or SMU turned an image or a command down
        ├── MessageRefused        EINVAL: management firmware answered a message with an error
        └── CommandFailed         EIO, ETIME, ECANCELED: a command's completion word says so

Every error names the object, the limit and the remedy; ``error.errno`` is what an ioctl of Linux 7.2's amdxdna returns there.
"""

from __future__ import annotations

import errno as codes

# Python knows 95 by POSIX's name; drivers, and docs/errors.md, by the other one.
_NAMES = {**codes.errorcode, codes.EOPNOTSUPP: "EOPNOTSUPP"}


class FauxdnaError(OSError):
    """Base of everything that the driver, the accel layer and the runtime raise."""

    default_errno = codes.EIO

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None) -> None:
        number = self.default_errno if errno is None else errno
        super().__init__(number, f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem
        """What object met what limit."""
        self.remedy = remedy
        """What to do about it."""

    def __reduce__(self) -> tuple[object, ...]:
        # Not by __init__, which may ask for other arguments in a subclass; what it keeps is all in __dict__.
        return _rebuild, (type(self), self.errno, self.strerror), vars(self)

    def __str__(self) -> str:
        name = _NAMES.get(self.errno or 0, str(self.errno))
        return f"{self.strerror} [{name}]"


def _rebuild(kind: type[FauxdnaError], errno: int, text: str) -> FauxdnaError:
    error = kind.__new__(kind)
    OSError.__init__(error, errno, text)
    return error


class Misuse(FauxdnaError):
    """The caller's mistake."""

    default_errno = codes.EINVAL


class InvalidArgument(Misuse):
    """A value out of its range or an operation out of its state."""


class InvalidInput(InvalidArgument, ValueError):
    """A model, program or ELF that can't be taken; one sentence names the object, the limit and the remedy."""

    def __init__(self, problem: str, remedy: str = "", *, errno: int | None = None) -> None:
        super().__init__(problem, remedy, errno=errno)


class NotFound(Misuse):
    """No object of that name or handle."""

    default_errno = codes.ENOENT


class Busy(Misuse):
    """The object is in use."""

    default_errno = codes.EBUSY


class OutOfSpace(Misuse):
    """A limit of the device or the host is reached."""

    default_errno = codes.ENOSPC


class BufferTooSmall(OutOfSpace):
    """The caller's buffer holds too little; ``needed`` would do, in ``unit``."""

    def __init__(self, problem: str, remedy: str = "", *, errno: int | None = None, needed: int = 0, unit: str = "bytes") -> None:
        super().__init__(problem, remedy or f"give room for {needed} {unit}", errno=errno)
        self.needed = needed
        self.unit = unit


class Unsupported(FauxdnaError):
    """The function, or Linux 7.2's driver for it, does not do that."""

    default_errno = codes.EOPNOTSUPP


class UndefinedByHardware(FauxdnaError):
    """The hardware gives this no meaning."""

    default_errno = codes.EINVAL


class DeviceError(FauxdnaError):
    """The device or its firmware failed or refused."""


class DeviceTimeout(DeviceError):
    """No answer in time."""

    default_errno = codes.ETIME


class DeviceGone(DeviceError):
    """The function was removed or stopped, or none is there."""

    default_errno = codes.ENODEV


class FirmwareRefused(DeviceError):
    """PSP or SMU answered with an error; ``response`` is its code."""

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None, response: int = 0) -> None:
        super().__init__(problem, remedy, errno=errno)
        self.response = response


class MessageRefused(DeviceError):
    """Management firmware answered a message with an error; ``status`` is its code."""

    default_errno = codes.EINVAL

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None, status: int = 0) -> None:
        super().__init__(problem, remedy, errno=errno)
        self.status = status


class CommandFailed(DeviceError):
    """A command ended with another state than COMPLETED; ``completion`` is its completion word."""

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None, completion: int = 0) -> None:
        super().__init__(problem, remedy, errno=errno)
        self.completion = completion
