"""Faults that a die can be given, to see what a driver does then. Without one nothing of this is called on a hot path.

A fault is written ``KIND`` or ``KIND:NAME=VALUE,NAME=VALUE``; ``docs/faults.md`` describes each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from fauxdna.abi import bars
from fauxdna.abi.firmware import HEADER, FirmwareKind
from fauxdna.abi.host_queue import ContextError
from fauxdna.errors import InvalidArgument

ANY: Final = -1
"""Of an opcode or vector: all of them."""


class FaultKind(StrEnum):
    """What can go wrong."""

    FIRMWARE_TAMPERED = "firmware-tampered"
    MAILBOX_SILENT = "mailbox-silent"
    MAILBOX_SLOW = "mailbox-slow"
    MESSAGE_REFUSED = "message-refused"
    LOST_INTERRUPT = "lost-interrupt"
    CONTEXT_ERROR = "context-error"
    STALE_QUEUE = "stale-queue"


_ON: Final = ("all", "pf", "vf")
_PARAMETERS: Final[Mapping[FaultKind, Mapping[str, int | str]]] = {
    FaultKind.FIRMWARE_TAMPERED: {"image": "npu"},
    FaultKind.MAILBOX_SILENT: {"on": "all", "opcode": ANY, "after": 0},
    FaultKind.MAILBOX_SLOW: {"on": "all", "opcode": ANY, "ms": 1000},
    FaultKind.MESSAGE_REFUSED: {"on": "all", "opcode": ANY, "after": 0},
    FaultKind.LOST_INTERRUPT: {"on": "all", "vector": ANY, "every": 1},
    FaultKind.CONTEXT_ERROR: {"every": 1, "reason": int(ContextError.INVALID_OPCODE)},
    FaultKind.STALE_QUEUE: {"read": 1, "write": 0},
}
"""Parameters of each kind with their defaults."""
_CHOICES: Final = {"on": _ON, "image": tuple(kind.name.lower() for kind in FirmwareKind)}
_LIMITS: Final = {
    "opcode": (0, 0xFFFF_FFFF),
    "after": (0, 1 << 32),
    "ms": (1, 60_000),
    "vector": (0, bars.MSIX_VECTORS - 1),
    "every": (1, 1 << 32),
    "reason": (0, max(ContextError)),
    "read": (0, (1 << 64) - 1),
    "write": (0, (1 << 64) - 1),
}


@dataclass(frozen=True)
class Fault:
    """One fault: a kind, and values of its parameters that differ from their defaults."""

    kind: FaultKind
    given: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The fault that is written ``text``.

        Raises:
            InvalidArgument: no such kind or parameter, or a value beyond its limits.
        """
        name, _, rest = text.partition(":")
        if name not in set(FaultKind):
            raise InvalidArgument(f"there is no fault '{name}'", f"choose one of {', '.join(FaultKind)}")
        kind = FaultKind(name)
        known = _PARAMETERS[kind]
        given: dict[str, int | str] = {}
        for part in filter(None, rest.split(",")):
            key, _, value = part.partition("=")
            if key not in known:
                raise InvalidArgument(f"fault {kind} has no parameter '{key}'", f"it has {', '.join(known)}")
            given[key] = _value(kind, key, value)
        return cls(kind, given)

    def __str__(self) -> str:
        values = ",".join(f"{key}={value}" for key, value in self.given.items())
        return f"{self.kind}:{values}" if values else str(self.kind)

    def number(self, name: str) -> int:
        """A parameter that is a number."""
        return int(self.given.get(name, _PARAMETERS[self.kind][name]))

    def hits(self, *, is_pf: bool) -> bool:
        """Whether it is for this kind of function."""
        return self.given.get("on", "all") in ("all", "pf" if is_pf else "vf")

    def hits_image(self, kind: FirmwareKind) -> bool:
        """Whether it is for this image."""
        return self.given.get("image", _PARAMETERS[self.kind].get("image")) == kind.name.lower()


def _value(kind: FaultKind, name: str, text: str) -> int | str:
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise InvalidArgument(f"fault {kind}: {name} is '{text}'", f"it can be {', '.join(_CHOICES[name])}")
        return text
    low, high = _LIMITS[name]
    try:
        value = int(text, 0)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InvalidArgument(f"fault {kind}: {name} is '{text}'", f"give a number from {low} to {high}")
    return value


class Faults:
    """The faults of a die. The die's lock, which ``lock`` is, guards it."""

    def __init__(self, faults: Iterable[Fault], lock: threading.RLock) -> None:
        self.faults = tuple(faults)
        self._lock = lock

    def of(self, kind: FaultKind) -> list[Fault]:
        """Those of one kind."""
        return [fault for fault in self.faults if fault.kind is kind]

    def tamper(self, kind: FirmwareKind, image: bytes) -> bytes:
        """What the PSP reads of an image: with one bit of its payload changed, or as it is."""
        if not any(fault.hits_image(kind) for fault in self.of(FaultKind.FIRMWARE_TAMPERED)) or len(image) <= HEADER.size:
            return image
        return image[: HEADER.size] + bytes([image[HEADER.size] ^ 1]) + image[HEADER.size + 1 :]

    def mailbox(self, *, is_pf: bool) -> MailboxFaults | None:
        """What is wrong with a function's mailbox, if anything."""
        kinds = (FaultKind.MAILBOX_SILENT, FaultKind.MAILBOX_SLOW, FaultKind.MESSAGE_REFUSED)
        silent, slow, refused = ([fault for fault in self.of(kind) if fault.hits(is_pf=is_pf)] for kind in kinds)
        return MailboxFaults(silent, slow, refused, self._lock) if silent or slow or refused else None

    def lost_interrupts(self, *, is_pf: bool) -> dict[int, int]:
        """Every how many interrupts of a vector one is lost (0: none), for all vectors."""
        lost = dict.fromkeys(range(bars.MSIX_VECTORS), 0)
        for fault in self.of(FaultKind.LOST_INTERRUPT):
            if fault.hits(is_pf=is_pf):
                vector = fault.number("vector")
                lost |= dict.fromkeys(lost if vector == ANY else (vector,), fault.number("every"))
        return lost

    def failing_packets(self) -> tuple[int, int]:
        """Every how many packets of a context one fails (0: none), and for which reason."""
        for fault in self.of(FaultKind.CONTEXT_ERROR):
            return fault.number("every"), fault.number("reason")
        return 0, 0

    def stale_queue(self) -> tuple[int, int] | None:
        """read_index and write_index that a new context's queue header gets, if any."""
        for fault in self.of(FaultKind.STALE_QUEUE):
            return fault.number("read"), fault.number("write")
        return None


@dataclass
class _Later:
    """Hits messages of an opcode after so many of them."""

    opcode: int
    after: int
    seen: int = 0

    def hits(self, opcode: int) -> bool:
        """A message came: whether it is hit."""
        if self.opcode not in (ANY, opcode):
            return False
        self.seen += 1
        return self.seen > self.after


class MailboxFaults:
    """What is wrong with one mailbox."""

    def __init__(self, silent: list[Fault], slow: list[Fault], refused: list[Fault], lock: threading.RLock) -> None:
        self._silent = [_Later(fault.number("opcode"), fault.number("after")) for fault in silent]
        self._slow = [(fault.number("opcode"), fault.number("ms") / 1000) for fault in slow]
        self._refused = [_Later(fault.number("opcode"), fault.number("after")) for fault in refused]
        self._lock = lock

    def swallows(self, opcode: int) -> bool:
        """Whether a message is taken and never worked, as by firmware that hangs."""
        return max((fault.hits(opcode) for fault in self._silent), default=False)

    def refuses(self, opcode: int) -> bool:
        """Whether a message is answered with an error instead of being worked."""
        return max((fault.hits(opcode) for fault in self._refused), default=False)

    def delay(self, opcode: int) -> float:
        """Seconds that an answer takes."""
        return max((seconds for wanted, seconds in self._slow if wanted in (ANY, opcode)), default=0.0)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Calls ``action`` with the die locked, in ``seconds``."""

        def run() -> None:
            with self._lock:
                action()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        timer.start()
