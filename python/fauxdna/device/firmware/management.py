"""Management firmware: starts from two verified images, keeps each function's state, and answers messages by table."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from functools import partial

from fauxdna import _core
from fauxdna.abi import firmware as abi
from fauxdna.abi._declare import Record, Struct
from fauxdna.abi.firmware_ring import Category, EventId
from fauxdna.abi.messages import PF_STATES, STATUS_RESPONSE, Message, State, Status
from fauxdna.abi.protocols import PROTOCOLS
from fauxdna.abi.uapi import PowerMode
from fauxdna.device.function import Function
from fauxdna.device.power import Power
from fauxdna.device.vf import VirtualFunction
from fauxdna.firmware import FirmwareError, Image
from fauxdna.log import Log, Logger

from . import contexts, control, debug, information, logging, monitoring
from .rings import SOURCE
from .state import FirmwareState, Refusal, Request, VfState

Handler = Callable[[Request], bytes]

HANDLERS: Mapping[str, Handler] = {
    **control.HANDLERS,
    **contexts.HANDLERS,
    **information.HANDLERS,
    **monitoring.HANDLERS,
    **debug.HANDLERS,
    **logging.HANDLERS,
}


class ManagementFirmware:
    """Runs from START to RELEASE_TMR, power-off or reset. The die's lock guards it.

    Raises:
        FirmwareError: the images don't go together, or their manifests ask for what this device has not.
    """

    def __init__(self, npu: Image, cert: Image, pf: Function, engine: _core.Engine, power: Power, columns: int, log: Log) -> None:
        if npu.protocol != cert.protocol:
            raise FirmwareError(
                errno.EINVAL,
                "npu image {}.{} and cert image {}.{} are of different releases".format(*npu.protocol, *cert.protocol),
            )
        protocol = PROTOCOLS.get(npu.protocol)
        if protocol is None:
            known = ", ".join(f"{major}.{minor}" for major, minor in PROTOCOLS)
            raise FirmwareError(errno.EINVAL, "npu image speaks protocol {}.{}; this device runs {}".format(*npu.protocol, known))
        self._protocol = protocol
        self._log = log
        manifest = _manifest(npu.payload, abi.NPU_MANIFEST, "npu")
        microcode = _manifest(cert.payload, abi.CERT_MANIFEST, "cert")
        table = (microcode.opcode_table_major, microcode.opcode_table_minor)
        if table != abi.OPCODE_TABLE:
            raise FirmwareError(
                errno.EINVAL, "cert image interprets opcode table {}.{}; this device has {}.{}".format(*table, *abi.OPCODE_TABLE)
            )
        self.state = FirmwareState(
            engine=engine,
            power=power,
            npu_version=(manifest.version_major, manifest.version_minor, manifest.version_patch, manifest.version_build),
            cert_version=(microcode.version_major, microcode.version_minor, microcode.version_hotfix, microcode.version_build),
            columns=min(columns, microcode.columns),
            features=abi.NpuFeature(manifest.features),
            vf_limit=manifest.vf_limit,
            context_limit=manifest.context_limit,
            open_vf=self._open_vf,
            close_vf=self._close_vf,
            journal=log,
        )
        self._pf = pf
        pf.mailbox.start(protocol, partial(self._handle, pf, None))
        log.logger(pf.bdf, SOURCE).info(f"{npu.build} and {cert.build} started, protocol {protocol.major}.{protocol.minor}")

    def stop(self) -> None:
        """Ends all contexts and answers no more."""
        self.state.close_vfs()
        self.state.rings.close()
        self._pf.mailbox.stop()

    def vf_appeared(self, vf: VirtualFunction) -> None:
        """A VF came onto the bus, or was reset: it has nothing."""
        self.state.vfs[vf.index] = VfState(vf, self._log.logger(vf.bdf, SOURCE))
        if vf.index < self.state.vf_count:
            self._open_vf(self.state.vfs[vf.index])

    def vf_vanished(self, vf: VirtualFunction) -> None:
        """A VF left the bus, or is about to be reset."""
        self._close_vf(self.state.vfs.pop(vf.index))
        self.state.follow_modes()

    def vf_quiesced(self, vf: VirtualFunction) -> None:
        """A VF may not do DMA any more."""
        state = self.state.vfs.get(vf.index)
        if state is not None and state.contexts:
            state.log.warning(f"bus mastering was switched off: {len(state.contexts)} contexts end")
            contexts.destroy_all(self.state, state)

    def _open_vf(self, vf: VfState) -> None:
        vf.function.mailbox.start(self._protocol, partial(self._handle, vf.function, vf))

    def _close_vf(self, vf: VfState) -> None:
        contexts.destroy_all(self.state, vf)
        vf.partition = None
        vf.power_mode = PowerMode.DEFAULT
        vf.config.clear()
        vf.last_failure = None
        vf.rings.close()
        vf.function.mailbox.stop()

    def _handle(self, function: Function, vf: VfState | None, opcode: int, payload: bytes) -> bytes:
        """Answers one request: who may send it, when, and how long it is, are checked here; what it asks for, by its handler."""
        log = self._log.logger(function.bdf, SOURCE)
        message = self._protocol.messages.get(opcode)
        state = self.state.pf_state if vf is None else vf.state
        owner = self.state if vf is None else vf
        owner.counters.count_message(opcode)
        answer = self._answer(function, vf, log, opcode, message, state, payload)
        owner.rings.note(Category.MESSAGE, EventId.MESSAGE, opcode, STATUS_RESPONSE.unpack(answer).status)
        return answer

    def _answer(
        self,
        function: Function,
        vf: VfState | None,
        log: Logger,
        opcode: int,
        message: Message | None,
        state: State,
        payload: bytes,
    ) -> bytes:
        if message is None:
            log.warning(f"opcode {opcode:#x} is not in protocol {self._protocol.major}.{self._protocol.minor}")
            return STATUS_RESPONSE.pack(status=Status.NOTSUPP)
        try:
            _check_legal(message, state, payload)
            if function.mailbox.faults is not None and function.mailbox.faults.refuses(opcode):
                raise Refusal("message-refused")
            response = HANDLERS[message.name](Request(self.state, vf, function, log, message, payload))
        except Refusal as refusal:
            log.warning(f"{message.name} refused: {refusal}")
            return message.response.pack(status=refusal.status)
        log.debug(f"{message.name}: ok")
        return response


def _check_legal(message: Message, state: State, payload: bytes) -> None:
    if not message.states & state:
        of_pf = bool(state & PF_STATES)
        if of_pf != bool(message.states & PF_STATES):
            raise Refusal(f"a {'PF' if of_pf else 'VF'} does not serve it", Status.NOTSUPP)
        legal = " or ".join(str(item.name) for item in State if item & message.states)
        raise Refusal(f"not legal in state {state.name}, only in {legal}")
    if len(payload) != message.request.size:
        raise Refusal(f"its request has {message.request.size} bytes, {len(payload)} were sent")


def _manifest(payload: bytes, layout: Struct, name: str) -> Record:
    try:
        return layout.unpack(payload)
    except struct.error:
        raise FirmwareError(
            errno.EBADMSG, f"{name} image's manifest has {len(payload)} bytes, {layout.size} are needed"
        ) from None
