"""What management firmware knows: of itself, of each VF, and of the request it is answering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fauxdna import _core
from fauxdna.abi._declare import Record
from fauxdna.abi.firmware import NpuFeature
from fauxdna.abi.firmware_ring import Category, EventId
from fauxdna.abi.messages import Message, State, Status
from fauxdna.abi.messages_5_24 import TELEMETRY_OPCODES, RuntimeConfig
from fauxdna.abi.uapi import PowerMode
from fauxdna.device.function import Function
from fauxdna.device.power import Power
from fauxdna.device.vf import VirtualFunction
from fauxdna.log import Log, Logger

from .meter import Meter, Work
from .rings import Rings


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

    def add_work(self, state: Mapping[str, object], total: Work) -> None:
        """Adds to ``total`` what the engine says the context has done."""
        energy, busy = state.get("energy_pj"), state.get("simulated_ns")
        if isinstance(energy, (int, float)) and isinstance(busy, int):
            total.add(energy, busy, range(self.column, self.column + self.columns))


@dataclass
class Counters:
    """What telemetry counts of one function."""

    messages: int = 0
    contexts: int = 0
    partitions: int = 0
    transfers: int = 0
    """DMA that firmware itself did."""
    opcodes: list[int] = field(default_factory=lambda: [0] * TELEMETRY_OPCODES)
    """The newest, a ring."""

    def count_message(self, opcode: int) -> None:
        """A message came."""
        self.opcodes[self.messages % TELEMETRY_OPCODES] = opcode
        self.messages += 1


MODE_LEVELS: Final[Mapping[PowerMode, int]] = {
    PowerMode.LOW: 0,
    PowerMode.MEDIUM: 2,
    PowerMode.HIGH: 3,
    PowerMode.TURBO: 4,
}
"""DPM level that a power mode asks for (chosen); DEFAULT asks for the SMU's soft level, and only while there are contexts."""


@dataclass
class VfState:
    """One VF: at most one partition, and contexts by id."""

    function: VirtualFunction
    log: Logger
    partition: Partition | None = None
    contexts: dict[int, Context] = field(default_factory=dict)
    power_mode: PowerMode = PowerMode.DEFAULT
    counters: Counters = field(default_factory=Counters)
    config: dict[RuntimeConfig, int] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    retired: Work = field(default_factory=Work)
    """What contexts did that are gone."""
    rings: Rings = field(default_factory=Rings)
    last_failure: tuple[int, Mapping[str, int]] | None = None
    """Of the context with this id."""

    def work(self, engine: _core.Engine) -> Work:
        """What the VF's contexts have done."""
        total = Work().plus(self.retired)
        for context in self.contexts.values():
            context.add_work(engine.context_state(context.handle), total)
        return total

    def note_failure(self, identifier: int, state: Mapping[str, object]) -> None:
        """Remembers a context's failure if it is the newest."""
        failure = state.get("failure")
        if isinstance(failure, dict) and (self.last_failure is None or failure["time_us"] >= self.last_failure[1]["time_us"]):
            self.last_failure = identifier, failure

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
    power: Power
    columns: int
    npu_version: tuple[int, int, int, int]
    cert_version: tuple[int, int, int, int]
    features: NpuFeature
    vf_limit: int
    context_limit: int
    open_vf: Callable[[VfState], None]
    close_vf: Callable[[VfState], None]
    journal: Log
    """What firmware logs goes there."""
    pf_state: State = State.PF_BOOTED
    vf_count: int = 0
    vfs: dict[int, VfState] = field(default_factory=dict)
    partitions_made: int = 0
    contexts_made: int = 0
    failing: tuple[int, int] = (0, 0)
    """Every how many packets one fails, and why; see :meth:`fail_packets`."""
    stale_queue: tuple[int, int] | None = None
    """read_index and write_index that a new context's queue header gets; ``None``: it is left as the host wrote it."""
    counters: Counters = field(default_factory=Counters)
    """Of the PF."""
    config: dict[RuntimeConfig, int] = field(default_factory=dict)
    rings: Rings = field(default_factory=Rings)
    meter: Meter = field(default_factory=Meter)
    retired: Work = field(default_factory=Work)

    def work(self) -> Work:
        """What all contexts of the die have done."""
        total = Work().plus(self.retired)
        for vf in self.vfs.values():
            for context in vf.contexts.values():
                context.add_work(self.engine.context_state(context.handle), total)
        return total

    def preempts(self, vf: VfState) -> bool:
        """Whether packets of ``vf`` are preempted: it, or the PF, has asked for that."""
        return any(config.get(RuntimeConfig.FORCE_PREEMPTION) for config in (self.config, vf.config))

    def follow_modes(self) -> None:
        """Sets the DPM level that the power modes of the VFs ask for; the highest wins, so that no VF slows another."""
        soft = self.power.soft
        wanted = [
            MODE_LEVELS.get(vf.power_mode, soft)
            for vf in self.vfs.values()
            if vf.contexts or vf.power_mode is not PowerMode.DEFAULT
        ]
        before = self.power.level
        self.power.override(max(wanted) if wanted else None)
        if self.power.level != before:
            for rings in (self.rings, *(vf.rings for vf in self.vfs.values())):
                rings.note(Category.POWER, EventId.DPM_LEVEL, self.power.level, self.power.hclk)

    def fail_packets(self, every: int, reason: int) -> None:
        """Every ``every``th packet of each context, present and future, ends with an error of this reason; 0: none."""
        self.failing = (every, reason)
        for vf in self.vfs.values():
            for context in vf.contexts.values():
                self.engine.set_failing(context.handle, every, reason)

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

    @property
    def config(self) -> dict[RuntimeConfig, int]:
        """Runtime configuration of the function that asks."""
        return self.firmware.config if self.vf is None else self.vf.config

    @property
    def rings(self) -> Rings:
        """Log and trace of the function that asks."""
        return self.firmware.rings if self.vf is None else self.vf.rings

    @property
    def counters(self) -> Counters:
        """Telemetry of the function that asks."""
        return self.firmware.counters if self.vf is None else self.vf.counters

    def read_memory(self, address: int, length: int) -> bytes:
        """DMA from the host; :class:`Refusal` if it can't be had."""
        self.counters.transfers += 1
        try:
            return self.function.read_memory(address, length)
        except (OSError, OverflowError) as error:
            raise Refusal(f"{length} bytes at {address:#x} can't be read: {error}") from None

    def write_memory(self, address: int, data: bytes) -> None:
        """DMA to the host; :class:`Refusal` if it can't be had."""
        self.counters.transfers += 1
        try:
            self.function.write_memory(address, data)
        except (OSError, OverflowError) as error:
            raise Refusal(f"{len(data)} bytes at {address:#x} can't be written: {error}") from None

    def answer(self, **values: object) -> bytes:
        """A successful response."""
        return self.message.response.pack(**values)
