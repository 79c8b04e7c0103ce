"""What of an open file's ioctls depends on whose driver serves it (``struct amdxdna_dev_ops``): here Linux 7.2's."""

from __future__ import annotations

from fauxdna.abi.uapi import ConfigParam, InfoParam

from ..errors import Unsupported
from .function import Function
from .open_files import HardwareContext
from .vf import Vf


class DeviceOperations:
    """Linux 7.2's on AIE4, which has next to none: what it lacks is ``EOPNOTSUPP``."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def config_hwctx(self, handle: int, param: int, value: bytes | int) -> None:
        """CONFIG_HWCTX."""
        size = len(value) if isinstance(value, bytes) else 0
        name = ConfigParam(param).name if param in set(ConfigParam) else param
        raise _missing(f"CONFIG_HWCTX {name} ({size} bytes) of context {handle}")

    def get_info(self, param: int, size: int, data: bytes) -> bytes:
        """GET_INFO: AIE_METADATA of a VF, and nothing else."""
        if isinstance(self.function, Vf) and param == InfoParam.AIE_METADATA:
            return self.function.metadata()[:size]
        name = InfoParam(param).name if param in set(InfoParam) else str(param)
        raise Unsupported(
            f"GET_INFO {name} of {self.function.name}: Linux 7.2 serves AIE_METADATA of a VF alone",
            "ask a VF for AIE_METADATA",
        )

    def aie_status(self, size: int) -> tuple[bytes, int]:
        """GET_INFO of AIE_STATUS."""
        raise _missing(f"AIE_STATUS ({size} bytes)")

    def get_array(self, param: int, element_size: int, count: int, data: bytes) -> tuple[int, int, bytes]:
        """GET_ARRAY."""
        raise _missing(f"GET_ARRAY {param} ({count} x {element_size} bytes)")

    def set_state(self, param: int, data: bytes) -> None:
        """SET_STATE."""
        raise _missing(f"SET_STATE {param} ({len(data)} bytes)")

    def hwctx_ended(self, context: HardwareContext) -> None:
        """Firmware has the context no more."""

    def close(self) -> None:
        """The file is closed, its contexts have ended."""


def _missing(what: str) -> Unsupported:
    return Unsupported(f"{what}: Linux 7.2 has none for AIE4", "leave it out")
