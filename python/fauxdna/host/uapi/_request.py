"""One ioctl under way: its argument as ``drm_ioctl`` keeps it, its open file, its caller's memory."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fauxdna._core import Call
from fauxdna.abi._declare import Record, Struct
from fauxdna.errors import InvalidArgument

if TYPE_CHECKING:
    from ._file import OpenFile

ADDRESS_MASK: Final = (1 << 64) - 1
_USER_END: Final = (1 << 47) - 4096
"""``TASK_SIZE_MAX`` of x86-64."""
_IN, _OUT = 1, 2
_DIRECTION_SHIFT, _SIZE_SHIFT, _SIZE_MASK = 30, 16, 0x3FFF


def size_of(number: int) -> int:
    """``_IOC_SIZE``."""
    return number >> _SIZE_SHIFT & _SIZE_MASK


def fault(what: str, address: int, length: int, number: int = errno.EFAULT) -> InvalidArgument:
    """An address that the caller may not use."""
    return InvalidArgument(f"{what}: {length} bytes at {address:#x} can't be reached", "pass a valid pointer", errno=number)


def must_be_accessible(request: Request, address: int, length: int) -> None:
    """``access_ok``: ``EFAULT`` for what can't be a program's memory, mapped or not."""
    if address + length > _USER_END:
        raise fault(f"buffer of {request.name}", address, length)


class Request:
    """An ioctl on ``file``. Handlers read its fields, set others, and raise :class:`fauxdna.errors.FauxdnaError`.

    As in ``drm_ioctl``, what the caller's number and the driver's agree on decides what is copied in and out; what the caller did
    not give is 0, what it has no room for is not returned, and the argument is copied back after an error too.
    """

    __slots__ = ("_structure", "call", "data", "file", "name", "out_size")

    def __init__(self, call: Call, file: OpenFile, name: str, number: int, structure: Struct | None) -> None:
        self.call = call
        self.file = file
        self.name = name
        self._structure = structure
        asked = call.request
        size = asked >> _SIZE_SHIFT & _SIZE_MASK
        directions = (asked & number) >> _DIRECTION_SHIFT
        self.out_size = size if directions & _OUT else 0
        try:
            self.data = bytearray(call.data()) if directions & _IN else bytearray(self.out_size)
        except OSError as error:
            raise fault(f"argument of {name}", call.argument, size) from error
        missing = size_of(number) - len(self.data)
        if missing > 0:
            self.data += bytes(missing)

    @property
    def fields(self) -> Record:
        """The argument as it came."""
        assert self._structure is not None
        return self._structure.unpack(self.data)

    def get(self, name: str) -> int:
        """One field as it is now: where no other is looked at, faster than :attr:`fields`."""
        assert self._structure is not None
        return self._structure.get(self.data, name)

    def set(self, **values: int) -> None:
        """Changes fields of the argument."""
        assert self._structure is not None
        for name, value in values.items():
            self._structure.put(self.data, name, value)

    def read(self, address: int, length: int, what: str = "memory", number: int = errno.EFAULT) -> bytes:
        """``copy_from_user``; ``number`` is the errno of a bad pointer."""
        if not length:
            return b""
        if address + length > ADDRESS_MASK:
            raise fault(f"{what} of {self.name}", address, length, number)
        try:
            return self.call.read(address, length)
        except OSError as error:
            raise fault(f"{what} of {self.name}", address, length, number) from error

    def write(self, address: int, data: bytes, what: str = "memory") -> None:
        """``copy_to_user``."""
        if not data:
            return
        if address + len(data) > ADDRESS_MASK:
            raise fault(f"{what} of {self.name}", address, len(data))
        try:
            self.call.write(address, data)
        except OSError as error:
            raise fault(f"{what} of {self.name}", address, len(data)) from error

    def finish(self, error: int = 0) -> None:
        """Copies the argument back, wakes the caller and lets go of the file."""
        if self.out_size:
            try:
                self.call.write(self.call.argument, bytes(self.data[: self.out_size]))
            except OSError:
                error = errno.EFAULT
        try:
            self.call.reply(error)
        except OSError:
            # A caller that was killed waits for nothing.
            pass
        finally:
            self.file.leave()
