"""The platform security processor from the host's side: validate firmware images, start, release. Mirrors ``aie_psp.c``."""

from __future__ import annotations

from typing import Final

from fauxdna.abi import bars
from fauxdna.abi.psp import (
    CERT_ALIGNMENT,
    COMMAND_SHIFT,
    NOTIFY,
    NPU_ALIGNMENT,
    SIZE_MASK,
    START_COPY_FIRMWARE,
    STATUS_READY,
    PspCommand,
    PspResponse,
)

from ..errors import FirmwareRefused, InvalidArgument
from .gem import BufferManager
from .memory import write_backing
from .registers import Registers

_WORD: Final = 0xFFFF_FFFF
_IMAGES: Final = {PspCommand.VALIDATE: ("npu", NPU_ALIGNMENT), PspCommand.VALIDATE_CERT: ("cert", CERT_ALIGNMENT)}


class Psp:
    """One PF's PSP. ``memory`` gives the buffers that images are handed over in."""

    def __init__(self, registers: Registers, memory: BufferManager) -> None:
        self._registers = registers
        self._memory = memory

    def start(self, npu: bytes, cert: bytes) -> None:
        """Validates both images and starts firmware from them.

        Raises:
            FirmwareRefused: ``EIO`` with the PSP's response code.
            DeviceTimeout: ``ETIMEDOUT`` when the PSP is not ready within a second.
        """
        self._validate(PspCommand.VALIDATE, npu)
        self._validate(PspCommand.VALIDATE_CERT, cert)
        self._execute(PspCommand.START, START_COPY_FIRMWARE, 0, 0)

    def stop(self) -> None:
        """Releases firmware's memory."""
        self._execute(PspCommand.RELEASE_TMR, 0, 0, 0)

    def _validate(self, command: PspCommand, image: bytes) -> None:
        name, alignment = _IMAGES[command]
        size = -(-len(image) // alignment) * alignment
        if not 0 < size <= SIZE_MASK:
            raise InvalidArgument(
                f"{name} image of {len(image)} bytes: the PSP takes 1 to {SIZE_MASK // alignment * alignment}",
                "build the image with: fauxdna firmware build",
            )
        with self._memory.driver_memory(size, alignment) as (backing, address):
            write_backing(backing, image)
            self._execute(command, address & _WORD, address >> 32, size)

    def _execute(self, command: PspCommand, argument0: int, argument1: int, argument2: int) -> None:
        registers = self._registers
        registers.poll(bars.PSP_COMMAND, _ready, f"PSP before {command.name} is not ready")
        # The command register is also argument 2 (C2PMSG_123): the second write is the one that counts.
        registers.write(bars.PSP_COMMAND, command)
        registers.write(bars.PSP_ARGUMENT0, argument0)
        registers.write(bars.PSP_ARGUMENT1, argument1)
        registers.write(bars.PSP_COMMAND, argument2 | command << COMMAND_SHIFT)
        registers.write(bars.PSP_INTERRUPT, 0)
        registers.write(bars.PSP_INTERRUPT, NOTIFY)
        registers.poll(bars.PSP_COMMAND, _ready, f"PSP {command.name} does not end")
        response = registers.read(bars.PSP_ARGUMENT0)
        if response != PspResponse.OK:
            image = f" of the {_IMAGES[command][0]} image" if command in _IMAGES else ""
            raise FirmwareRefused(
                f"PSP refused {command.name}{image} with {_name(response)}",
                "the device's log says why; check the image with: fauxdna firmware verify",
                response=response,
            )


def _ready(status: int) -> bool:
    return bool(status & STATUS_READY) and status != _WORD


def _name(response: int) -> str:
    known = {int(item): item.name for item in PspResponse}
    return f"{response:#x} ({known[response]})" if response in known else f"{response:#x}"
