"""A hardware context with its host queue: submit control code, wait, and say why a command failed."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from fauxdna._core import HostQueue
from fauxdna.abi.host_queue import DOORBELL_PAGE_SIZE, CompletionState, ContextError, PacketOpcode
from fauxdna.abi.messages import TILES_PER_COLUMN
from fauxdna.abi.uapi import BoType
from fauxdna.accel import AccelFile, Qos
from fauxdna.errors import CommandFailed

from ._buffer import Buffer

_SPIN_US: Final = 50
"""Polled so long without the interpreter lock before WAIT_CMD sleeps; two wake-ups by eventfd."""
_STATE_MASK: Final = 0xF
_PER_UC: Final = 100
"""A uC's errors are added to 100 times its index."""
_REASONS: Final = {
    ContextError.EXIT: "the context was told to exit",
    ContextError.INVALID_PACKET: "the packet is invalid",
    ContextError.NO_PDI: "no PDI is mapped",
    ContextError.PDI_LOAD: "a PDI could not be loaded",
    ContextError.INVALID_OPCODE: "control code has an invalid opcode or operand",
    ContextError.INVALID_PAGE: "a control-code page is invalid",
    ContextError.TIMEOUT: "control code did not end in time",
}
_STATES: Final = {
    CompletionState.ERROR: errno.EIO,
    CompletionState.ABORT: errno.ECANCELED,
    CompletionState.TIMEOUT: errno.ETIME,
}


class CommandQueue:
    """One hardware context of ``columns`` columns on ``file``."""

    def __init__(self, file: AccelFile, columns: int, qos: Qos | None = None) -> None:
        self.file = file
        self._lock = threading.Lock()
        with ExitStack() as undo:
            memory = undo.enter_context(Buffer(file, HostQueue.required_size(), BoType.CMD))
            info = file.create_hwctx(memory.handle, columns * TILES_PER_COLUMN, qos)
            self.handle = info.handle
            undo.callback(file.destroy_hwctx, info.handle)
            self._doorbell = file.mmap(DOORBELL_PAGE_SIZE, info.umq_doorbell)
            self._queue = HostQueue(
                memory.mapping.fd,
                memory.mapping.fd_offset,
                memory.address,
                memory.size,
                self._doorbell.fd,
                self._doorbell.fd_offset,
                layout="unpadded",
                kick_fd=file.kick_fd,
            )
            self._undo = undo.pop_all()

    def submit(self, code: Sequence[tuple[int, int]], *, chain: bool = False) -> int:
        """Queues control code, ``(uC, device address)`` each, and rings; the command's sequence number.

        Waits while the queue is full. ``chain``: the next command is aborted if this one fails.
        """
        with self._lock:
            while True:
                try:
                    return self._queue.submit(code, chain=chain)
                except BlockingIOError:
                    self._wait_for_room()

    def submit_null(self) -> int:
        """Queues a packet that does nothing."""
        with self._lock:
            return self._queue.submit_opcode(PacketOpcode.TEST)

    def wait(self, sequence: int, timeout_s: float | None = None) -> None:
        """Waits for a command.

        Raises:
            DeviceTimeout: ``ETIME`` after ``timeout_s`` seconds; the command may still be running.
            CommandFailed: It did not complete: ``EIO``, ``ECANCELED`` (aborted) or ``ETIME`` (timed out on the device).
        """
        word = self._queue.spin(sequence, _SPIN_US)
        if not word:
            self.file.wait_cmd(self.handle, sequence, 0 if timeout_s is None else max(1, round(1000 * timeout_s)))
            # The device writes the completion word before read_index, which the wait has seen.
            word = self._queue.completion(sequence)
        if word & _STATE_MASK != CompletionState.COMPLETED:
            raise _failure(sequence, word, self.file.failure(self.handle))

    def close(self) -> None:
        """Destroys the context; may be called twice."""
        self._undo.close()

    def _wait_for_room(self) -> None:
        time.sleep(_SPIN_US * 1e-6)


def _failure(sequence: int, word: int, why: str) -> CommandFailed:
    state = word & _STATE_MASK
    if state not in _STATES:
        return CommandFailed(
            f"command {sequence} ended with completion word {word:#x}, which has no meaning", "report it", completion=word
        )
    kind = CompletionState(state)
    detail = ""
    if kind is not CompletionState.ABORT and word >> 4:
        uc, code = divmod(word >> 4, _PER_UC)
        known = {int(item): text for item, text in _REASONS.items()}
        detail = f" on uC {uc}: {known.get(code, f'error {code}')}"
    if why:
        detail += f": {why}"
    return CommandFailed(
        f"command {sequence} ended with {kind.name}{detail} (completion word {word:#x})",
        "create a new context; a trace shows what led to it (fauxdna run --trace)",
        errno=_STATES[kind],
        completion=word,
    )
