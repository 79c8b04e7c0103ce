"""Memory that the device and numpy share."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fauxdna.abi.uapi import BoType
from fauxdna.accel import AccelFile, Mapping
from fauxdna.driver.memory import page_align
from fauxdna.errors import DeviceGone, InvalidArgument


class Buffer:
    """A BO with its mapping. Views keep the memory alive, also after :meth:`close`.

    Args:
        file: The node's open file.
        size: Bytes, rounded up to pages.
        type_: What the BO usage counts it as.
    """

    def __init__(self, file: AccelFile, size: int, type_: BoType = BoType.SHARE) -> None:
        self.file = file
        self._handle: int | None = file.create_bo(size, type_)
        try:
            offset = file.get_bo_info(self._handle).map_offset
            self.mapping: Mapping = file.mmap(page_align(size), offset)
            # With a PASID the device sees the mapping's own address, so it is asked for after mmap.
            self.address = file.get_bo_info(self._handle).xdna_addr
        except Exception:
            self.close()
            raise
        self.size = len(self.mapping.memory)
        """Bytes, a multiple of the page size."""
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(self.mapping.memory, np.uint8)
        """All of it, zero-copy."""

    @property
    def handle(self) -> int:
        """The BO's handle in its file."""
        if self._handle is None:
            raise DeviceGone("this buffer is closed", "allocate another")
        return self._handle

    def view(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A zero-copy array of the buffer's first bytes; ``EINVAL`` if it does not fit."""
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if count * kind.itemsize > self.size:
            raise InvalidArgument(
                f"{kind} array of shape {shape} takes {count * kind.itemsize} bytes; the buffer has {self.size}",
                "allocate a larger buffer",
            )
        return np.frombuffer(self.mapping.memory, kind, count).reshape(shape)

    def export(self) -> int:
        """A file descriptor of the memory, for another file or process; the caller closes it."""
        return self.file.prime_handle_to_fd(self.handle)

    def close(self) -> None:
        """Closes the handle; may be called twice."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self.file.gem_close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Tensor(Buffer):
    """A buffer that is one array: :attr:`array` is it, zero-copy. Runs take tensors as inputs and outputs without a copy."""

    def __init__(self, file: AccelFile, shape: tuple[int, ...], dtype: npt.DTypeLike, size: int = 0) -> None:
        kind = np.dtype(dtype)
        super().__init__(file, max(size, math.prod(shape) * kind.itemsize, 1))
        self.array = self.view(shape, kind)
