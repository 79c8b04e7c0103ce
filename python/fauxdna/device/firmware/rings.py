"""Firmware's log and trace of events in rings of host memory: the PF's tell of the whole die, a VF's of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fauxdna import _core
from fauxdna.abi.firmware_ring import Category, EventId
from fauxdna.abi.messages_5_24 import LogLevel
from fauxdna.log import Entry, Level, Log

if TYPE_CHECKING:
    from .state import FirmwareState, VfState

SOURCE: Final = "firmware"
"""What log entries of management firmware name as their source."""
_LEVELS: Final = {
    Level.ERROR: LogLevel.ERROR,
    Level.WARNING: LogLevel.WARNING,
    Level.INFO: LogLevel.INFORMATION,
    Level.DEBUG: LogLevel.DEBUG,
}
_VF_SHIFT: Final = 16
"""In the PF's trace a context's number has its VF's index, from 0, above its own."""


class Rings:
    """Those of one function."""

    def __init__(self) -> None:
        self.level = LogLevel.NONE
        self.categories = 0
        self.trace: _core.FirmwareRing | None = None
        self._log: _core.FirmwareRing | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start_log(self, ring: _core.FirmwareRing, level: LogLevel, log: Log, function: str | None) -> None:
        """Copies what firmware logs of ``function``, or of all, from now on."""
        self.stop_log()
        self._log, self.level = ring, level

        def write(entry: Entry) -> None:
            known = _LEVELS[entry.level]
            if entry.source == SOURCE and known <= self.level and function in (None, entry.function):
                line = f"[{entry.seconds:12.6f}] {known.name} {entry.function}: {entry.text}\n"
                ring.append(line.encode(errors="replace"))

        self._unsubscribe = log.subscribe(write)

    def stop_log(self) -> None:
        """Copies nothing more."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        self._log, self.level = None, LogLevel.NONE

    @property
    def logs(self) -> bool:
        """Whether there is a log."""
        return self._log is not None

    def close(self) -> None:
        """Ends both."""
        self.stop_log()
        self.trace, self.categories = None, 0

    def note(self, category: Category, event: EventId, *arguments: int) -> None:
        """An event, if its category is traced."""
        if self.trace is not None and self.categories >> category & 1:
            self.trace.event(event, arguments)


@dataclass(frozen=True)
class Sink:
    """A trace that a context's events go to, and what the context is called there."""

    rings: Rings
    context: int


def sinks(firmware: FirmwareState, vf: VfState, identifier: int) -> tuple[Sink, Sink]:
    """Of a VF's context."""
    return Sink(vf.rings, identifier), Sink(firmware.rings, vf.function.index << _VF_SHIFT | identifier)


def note_context(firmware: FirmwareState, vf: VfState, identifier: int, event: EventId, *arguments: int) -> None:
    """A context came or went."""
    for sink in sinks(firmware, vf, identifier):
        sink.rings.note(Category.CONTEXT, event, sink.context, *arguments)


def attach(firmware: FirmwareState, vf: VfState, identifier: int) -> None:
    """Has the engine tell the traces of a context's rings and commands."""
    targets = [
        (sink.rings.trace, sink.rings.categories, sink.context)
        for sink in sinks(firmware, vf, identifier)
        if sink.rings.trace is not None
    ]
    firmware.engine.set_events(vf.contexts[identifier].handle, targets)


def attach_new(firmware: FirmwareState, vf: VfState, identifier: int) -> None:
    """:func:`attach` for a context that has no trace yet."""
    if vf.rings.trace is not None or firmware.rings.trace is not None:
        attach(firmware, vf, identifier)


def attach_all(firmware: FirmwareState) -> None:
    """A trace began, changed or ended."""
    for vf in firmware.vfs.values():
        for identifier in vf.contexts:
            attach(firmware, vf, identifier)
