"""PSP: the security processor's registers in the PF's BAR4. It checks firmware images and starts firmware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fauxdna.abi import bars, psp
from fauxdna.abi.firmware import FirmwareKind
from fauxdna.abi.psp import PspCommand, PspResponse
from fauxdna.firmware import FirmwareError, Image, verify
from fauxdna.log import Logger


@dataclass(frozen=True)
class PspServices:
    """What the PSP needs of its die.

    ``read_memory`` is DMA: address and length to bytes, or ``OSError``; ``tamper`` is what happens to an image on its way.
    ``start`` runs two verified images and raises :class:`FirmwareError` if they can't run; ``stop`` ends them. ``powered`` says
    whether the NPU has power.
    """

    read_memory: Callable[[int, int], bytes]
    start: Callable[[Image, Image], None]
    stop: Callable[[], None]
    powered: Callable[[], bool]
    tamper: Callable[[FirmwareKind, bytes], bytes] = lambda _kind, image: image


class _Refused(Exception):
    def __init__(self, response: PspResponse, reason: str) -> None:
        super().__init__(reason)
        self.response = response


class Psp:
    """Executes a command when NOTIFY is written to the interrupt register, and is done before the write returns.

    VALIDATE, then VALIDATE_CERT, then START; RELEASE_TMR goes back to the beginning.
    """

    def __init__(self, services: PspServices, root_key: Ed25519PublicKey, logger: Logger) -> None:
        self._services = services
        self._root_key = root_key
        self._log = logger
        self._npu: Image | None = None
        self._cert: Image | None = None
        self._running = False
        self._registers: dict[int, int] = {}
        self._clear()

    def reset(self) -> None:
        """Forgets images and stops firmware."""
        self._release()
        self._clear()

    def read(self, offset: int) -> int:
        """The word at ``offset`` of BAR4."""
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes the word at ``offset`` of BAR4."""
        if offset not in self._registers:
            return
        self._registers[offset] = value
        if offset == bars.PSP_INTERRUPT and value == psp.NOTIFY:
            self._registers[bars.PSP_ARGUMENT0] = self._execute()
            self._registers[bars.PSP_COMMAND] = psp.STATUS_READY

    def _clear(self) -> None:
        self._registers = dict.fromkeys((bars.PSP_COMMAND, bars.PSP_ARGUMENT0, bars.PSP_ARGUMENT1, bars.PSP_INTERRUPT), 0)
        self._registers[bars.PSP_COMMAND] = psp.STATUS_READY

    def _execute(self) -> PspResponse:
        word = self._registers[bars.PSP_COMMAND]
        command, size = word >> psp.COMMAND_SHIFT, word & psp.SIZE_MASK
        address = self._registers[bars.PSP_ARGUMENT1] << 32 | self._registers[bars.PSP_ARGUMENT0]
        name = PspCommand(command).name if command in set(PspCommand) else f"command {command}"
        try:
            match command:
                case PspCommand.VALIDATE:
                    self._validate_npu(address, size)
                case PspCommand.VALIDATE_CERT:
                    self._validate_cert(address, size)
                case PspCommand.START:
                    self._start(self._registers[bars.PSP_ARGUMENT0])
                case PspCommand.RELEASE_TMR:
                    self._release_tmr()
                case _:
                    raise _Refused(PspResponse.CANCEL, "the PSP has no such command")
        except _Refused as refusal:
            self._log.error(f"{name} refused ({refusal.response:#x}): {refusal}")
            return refusal.response
        self._log.info(f"{name}: ok")
        return PspResponse.OK

    def _validate_npu(self, address: int, size: int) -> None:
        if self._running:
            raise _Refused(PspResponse.BAD_STATE, "firmware runs; RELEASE_TMR first")
        self._npu = self._cert = None
        self._npu = self._load(FirmwareKind.NPU, address, size)

    def _validate_cert(self, address: int, size: int) -> None:
        if self._running:
            raise _Refused(PspResponse.BAD_STATE, "firmware runs; RELEASE_TMR first")
        if self._npu is None:
            raise _Refused(PspResponse.BAD_STATE, "no npu image is loaded; VALIDATE one first")
        self._cert = None
        self._cert = self._load(FirmwareKind.CERT, address, size)

    def _load(self, kind: FirmwareKind, address: int, size: int) -> Image:
        """Copies the image once and judges the copy: the host may change its memory meanwhile."""
        try:
            data = self._services.tamper(kind, self._services.read_memory(address, size))
        except OSError as error:
            raise _Refused(
                PspResponse.CANCEL, f"{kind.name.lower()} image at {address:#x}, {size} bytes, can't be read: {error.strerror}"
            ) from None
        try:
            image = verify(data, self._root_key, kind=kind)
        except FirmwareError as error:
            raise _Refused(PspResponse.CANCEL, f"{kind.name.lower()} image: {error.strerror}") from None
        self._log.info(f"{kind.name.lower()} image {image.build!r}, {image.length} bytes of {size}")
        return image

    def _start(self, argument: int) -> None:
        if self._running:
            raise _Refused(PspResponse.BAD_STATE, "firmware runs already; RELEASE_TMR first")
        if self._npu is None or self._cert is None:
            missing = "npu" if self._npu is None else "cert"
            raise _Refused(PspResponse.BAD_STATE, f"no {missing} image is loaded; validate one first")
        if argument != psp.START_COPY_FIRMWARE:
            raise _Refused(PspResponse.CANCEL, f"argument {argument}: only {psp.START_COPY_FIRMWARE} (copy firmware) is known")
        if not self._services.powered():
            raise _Refused(PspResponse.BAD_STATE, "power is off; send SMU POWER_ON first")
        try:
            self._services.start(self._npu, self._cert)
        except FirmwareError as error:
            raise _Refused(PspResponse.CANCEL, str(error.strerror)) from None
        self._running = True

    def _release_tmr(self) -> None:
        if self._npu is None:
            raise _Refused(PspResponse.BAD_STATE, "no image is loaded, so nothing can be released")
        self._release()

    def _release(self) -> None:
        if self._running:
            self._services.stop()
        self._npu = self._cert = None
        self._running = False
