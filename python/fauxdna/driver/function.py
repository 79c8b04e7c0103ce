"""One AIE4 function under this driver: identity, BARs, interrupts, open files. Mirrors ``amdxdna_pci_drv.c``."""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Final, Self

from fauxdna._core import Completions
from fauxdna.abi import bars, pci
from fauxdna.abi._declare import Record
from fauxdna.abi.firmware_ring import RingType
from fauxdna.abi.identity import VBNV_PF, VBNV_VF
from fauxdna.abi.messages import Status
from fauxdna.abi.uapi import DeviceType
from fauxdna.bus import Bus, Region
from fauxdna.log import Log

from ..errors import DeviceError, DeviceGone, MessageRefused, Unsupported
from .config_space import ConfigSpace
from .firmware_stream import FirmwareStream
from .gem import BufferManager
from .interrupts import Vector
from .management import Management, read_mailbox_info
from .open_files import OpenFile
from .registers import Registers


@dataclass(frozen=True)
class DeviceInfo:
    """What the driver knows of a kind of function (``struct amdxdna_dev_info``, ``npu3_regs.c``)."""

    device_type: DeviceType
    vbnv: str


PF_INFO: Final = DeviceInfo(DeviceType.PF, VBNV_PF)
VF_INFO: Final = DeviceInfo(DeviceType.UMQ, VBNV_VF)
IDS: Final = {
    (0x17F2, 0x10): PF_INFO,
    (0x17F3, 0x10): VF_INFO,
    (0x1B0B, 0x10): PF_INFO,
    (0x1B0C, 0x10): VF_INFO,
}
"""(device, revision) of the AIE4 functions in ``amdxdna_ids``."""


def identify(config: ConfigSpace) -> DeviceInfo:
    """What function answers. ``ENODEV`` if none does, or one that this driver does not know."""
    vendor, device, revision = config.identity()
    info = IDS.get((device, revision)) if vendor == pci.VENDOR_AMD else None
    if info is None:
        known = ", ".join(f"1022:{device:04x} revision {revision:#x}" for device, revision in IDS)
        raise DeviceGone(f"{vendor:04x}:{device:04x} revision {revision:#x} is no AIE4 function", f"this driver knows {known}")
    return info


class Function(ABC):
    """What PF and VF have in common. Made by :func:`fauxdna.driver.probe`; a context manager that stops the function."""

    required_bars: ClassVar[tuple[int, ...]] = (bars.MAILBOX_BAR, bars.SRAM_BAR)

    def __init__(self, bus: Bus, name: str, info: DeviceInfo, log: Log, completions: Completions | None = None) -> None:
        self.bus = bus
        self.name = name
        """BDF, or whatever the caller calls it."""
        self.info = info
        self.log = log.logger(name, "amdxdna")
        self.config = ConfigSpace(bus)
        self.lock = threading.RLock()
        """Held during management messages (``dev_lock``)."""
        self.memory = BufferManager(bus)
        self._completions = completions
        self._own_completions = completions is None
        self.clients: list[OpenFile] = []
        self._vectors: dict[int, Vector] = {}
        self.firmware_log = FirmwareStream(RingType.LOG, self.ask, self.memory, self.log)
        self.firmware_trace = FirmwareStream(RingType.TRACE, self.ask, self.memory, self.log)
        self._management: Management | None = None
        self._closed = False
        for bar in self.required_bars:
            if not bus.region_info(Region(bar)).size:
                raise DeviceError(f"{name} has no BAR {bar}", "an AIE4 function has one: look at the device", errno=errno.ENOMEM)
        self.config.enable()
        self._msix = self.config.msix_table()
        self.mailbox_registers = Registers(bus, Region(bars.MAILBOX_BAR))
        self.sram = Registers(bus, Region(bars.SRAM_BAR))

    @property
    def completions(self) -> Completions:
        """Serves waits for commands and interrupts; several functions may share one."""
        if self._completions is None:
            with self.lock:
                self._completions = self._completions or Completions()
        return self._completions

    @property
    def management(self) -> Management:
        """The conversation with firmware; ``ENODEV`` while there is none."""
        if self._management is None:
            raise DeviceGone(f"{self.name} is stopped", "probe it again")
        return self._management

    @property
    def started(self) -> bool:
        """Whether firmware is spoken to."""
        return self._management is not None

    def start_management(self) -> None:
        """Finds the mailbox and starts the conversation (``aie4_mailbox_init``)."""
        info = read_mailbox_info(self.sram)
        self._management = Management.start(self.mailbox_registers, self.sram, info, self.vector(info.i2x_msi_idx))

    def stop_management(self) -> None:
        """Ends the conversation."""
        if self._management is not None:
            self._management.stop()
            self._management = None

    def ask(self, name: str, **request: object) -> Record:
        """A message that not all firmware has, and its answer.

        Raises:
            Unsupported: ``EOPNOTSUPP``, firmware speaks too old a protocol, or says that it has no such thing.
            MessageRefused: ``EINVAL`` when it refuses.
        """
        with self.lock:
            management = self.management
            if not management.knows(name):
                protocol = management.protocol
                raise Unsupported(
                    f"{name}: firmware of {self.name} speaks protocol {protocol.major}.{protocol.minor}, which has it not",
                    "start the PF with newer images: fauxdna firmware build",
                )
            try:
                return management.call(name, **request)
            except MessageRefused as refused:
                if refused.status == Status.NOTSUPP:
                    raise Unsupported(refused.problem, refused.remedy) from refused
                raise

    def vector(self, index: int) -> Vector:
        """MSI-X vector ``index``, connected on first use; ``EINVAL`` if the table has no such entry."""
        with self.lock:
            if not 0 <= index < self._msix.vectors:
                raise DeviceError(
                    f"MSI-X vector {index} of {self.name}: the table has {self._msix.vectors}",
                    "firmware and device do not fit",
                    errno=errno.EINVAL,
                )
            if index not in self._vectors:
                table = Registers(self.bus, self._msix.region)
                self._vectors[index] = Vector(self.bus, table, self._msix.offset, index, self.completions)
            return self._vectors[index]

    def attributes(self) -> dict[str, str]:
        """What sysfs shows of the function, without line ends (``amdxdna_sysfs.c`` and the PCI core)."""
        vendor, device, revision = self.config.identity()
        return {
            "device_type": str(int(self.info.device_type)),
            "vbnv": self.info.vbnv,
            "fw_version": "0.0.0.0",
            "vendor": f"{vendor:#06x}",
            "device": f"{device:#06x}",
            "revision": f"{revision:#04x}",
            "class": f"{self.config.class_code():#08x}",
        }

    def add_client(self, client: OpenFile) -> None:
        """Takes note of a file that was opened; ``ENODEV`` after :meth:`close`."""
        with self.lock:
            if self._closed:
                raise DeviceGone(f"{self.name} is stopped", "probe it again")
            self.clients.append(client)

    def remove_client(self, client: OpenFile) -> None:
        """Takes note of a file that was closed."""
        with self.lock:
            self.clients.remove(client)

    def close(self) -> None:
        """Closes every open file, stops the function and gives the bus back. May be called twice."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            clients = list(self.clients)
        for client in clients:
            client.close()
        try:
            self.firmware_log.close()
            self.firmware_trace.close()
            self.stop()
        finally:
            self.stop_management()
            for vector in self._vectors.values():
                vector.close()
            self._vectors.clear()
            if self._own_completions and self._completions is not None:
                self._completions.close()
            self.memory.detach()
            self.bus.close()

    @abstractmethod
    def start(self) -> None:
        """Brings the function up; :meth:`close` undoes as much as was done."""

    @abstractmethod
    def stop(self) -> None:
        """Undoes :meth:`start`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
