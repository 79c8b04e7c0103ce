"""Open files and their contexts as the function knows them, and as files of the same function know each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .answers import Qos
from .gem import BufferObject
from .interrupts import Vector


@dataclass(frozen=True)
class HardwareContext:
    """A context that firmware made."""

    id: int
    """Firmware's."""
    doorbell_offset: int
    """Of its page, in the doorbell BAR; also its offset for mmap of the node."""
    vector: Vector
    queue: BufferObject
    completion: int
    """What the function's ``completions`` call its queue."""


class OpenFile(Protocol):
    """A :class:`~fauxdna.driver.client.Client` from outside."""

    @property
    def pid(self) -> int:
        """The process it belongs to."""
        ...

    @property
    def bo_usage(self) -> tuple[int, int]:
        """Bytes of all BOs, and of those that the runtime made for itself (type CMD)."""
        ...

    def has_bo(self, bo: BufferObject) -> bool:
        """Whether a handle of this file stands for ``bo``."""
        ...

    def contexts(self) -> dict[int, HardwareContext]:
        """All contexts of this file, by handle."""
        ...

    def qos(self, handle: int) -> Qos:
        """What a context was created with."""
        ...

    def close(self) -> None:
        """Destroys contexts and closes handles."""
        ...
