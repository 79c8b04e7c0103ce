"""What management firmware knows: of itself, of each VF, and of the request it is answering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fauxdna import _core
from fauxdna.abi._declare import Record
from fauxdna.abi.firmware import NpuFeature
from fauxdna.abi.messages import Message, State, Status
from fauxdna.device.function import Function
from fauxdna.device.vf import VirtualFunction
from fauxdna.log import Logger


class Refusal(Exception):
    """A request that is answered with ``status``; the text goes to the log."""

    def __init__(self, reason: str, status: Status = Status.ERROR) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Partition:
    """Columns that a VF's contexts run on."""

    id: int
    column: int
    columns: int


@dataclass(frozen=True)
class Context:
    """A hardware context: its handle in the engine, its columns, and the slot that gives its doorbell page."""

    handle: int
    slot: int
    column: int
    columns: int


@dataclass
class VfState:
    """One VF: at most one partition, and contexts by id."""

    function: VirtualFunction
    log: Logger
    partition: Partition | None = None
    contexts: dict[int, Context] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What the message table asks for."""
        if self.contexts:
            return State.VF_ACTIVE
        return State.VF_IDLE if self.partition is None else State.VF_PARTITIONED


@dataclass
class FirmwareState:
    """The die's firmware. ``vf_count`` VFs are served (0: none were created); ``vfs`` are those on the bus, by index."""

    engine: _core.Engine
    columns: int
    features: NpuFeature
    vf_limit: int
    context_limit: int
    open_vf: Callable[[VfState], None]
    close_vf: Callable[[VfState], None]
    pf_state: State = State.PF_BOOTED
    vf_count: int = 0
    vfs: dict[int, VfState] = field(default_factory=dict)
    partitions_made: int = 0
    contexts_made: int = 0

    def close_vfs(self) -> None:
        """Serves no VF any more."""
        self.vf_count = 0
        for vf in self.vfs.values():
            self.close_vf(vf)


@dataclass(frozen=True)
class Request:
    """A request whose opcode, sender, state and size were found right. ``vf`` is ``None`` if the PF sent it."""

    firmware: FirmwareState
    vf: VfState | None
    function: Function
    log: Logger
    message: Message
    payload: bytes

    @property
    def fields(self) -> Record:
        """The request's structure."""
        return self.message.request.unpack(self.payload)

    @property
    def sender(self) -> VfState:
        """The VF that sent it, for messages that only VFs send."""
        if self.vf is None:
            raise Refusal("a PF does not serve it", Status.NOTSUPP)
        return self.vf

    def answer(self, **values: int) -> bytes:
        """A successful response."""
        return self.message.response.pack(**values)
