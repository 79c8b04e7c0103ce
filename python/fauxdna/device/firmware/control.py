"""Messages of the PF: SUSPEND, ATTACH_WORK_BUFFER, CREATE_VFS, DESTROY_VFS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fauxdna.abi.firmware import NpuFeature
from fauxdna.abi.messages import WORK_BUFFER_MINIMUM, State, Status

from .state import Refusal, Request


def suspend(request: Request) -> bytes:
    """Ends all VFs' work. The mailbox answers this, then refuses everything until a fresh start."""
    request.firmware.close_vfs()
    request.firmware.pf_state = State.PF_SUSPENDED
    request.log.info("suspended")
    return request.answer()


def attach_work_buffer(request: Request) -> bytes:
    """Memory of the host that firmware may keep things in. All of it has to be reachable."""
    fields = request.fields
    if fields.buffer_size < WORK_BUFFER_MINIMUM:
        raise Refusal(f"work buffer of {fields.buffer_size} bytes; at least {WORK_BUFFER_MINIMUM} are needed")
    last = fields.buffer_address + fields.buffer_size - 4
    for address in (fields.buffer_address, last):
        try:
            request.function.read_memory(address, 4)
        except (OSError, OverflowError) as error:
            raise Refusal(f"work buffer at {address:#x}: {error}") from None
    request.firmware.pf_state = State.PF_READY
    return request.answer()


def create_vfs(request: Request) -> bytes:
    """Serves VFs 0 to ``vf_count`` - 1, now or as soon as they are on the bus."""
    firmware = request.firmware
    count = request.fields.vf_count
    if NpuFeature.SRIOV not in firmware.features:
        raise Refusal("this firmware was built without SR-IOV", Status.NOTSUPP)
    if not 1 <= count <= firmware.vf_limit:
        raise Refusal(f"{count} VFs; this firmware serves 1 to {firmware.vf_limit}")
    firmware.vf_count = count
    firmware.pf_state = State.PF_VIRTUAL
    for index, vf in firmware.vfs.items():
        if index < count:
            firmware.open_vf(vf)
    return request.answer()


def destroy_vfs(request: Request) -> bytes:
    """Serves no VF any more; their contexts end."""
    request.firmware.close_vfs()
    request.firmware.pf_state = State.PF_READY
    return request.answer()


HANDLERS: Final[Mapping[str, Callable[[Request], bytes]]] = {
    "SUSPEND": suspend,
    "ATTACH_WORK_BUFFER": attach_work_buffer,
    "CREATE_VFS": create_vfs,
    "DESTROY_VFS": destroy_vfs,
}
