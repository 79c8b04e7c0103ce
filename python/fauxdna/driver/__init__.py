"""amdxdna in user space: brings up AIE4 functions over a bus, as Linux 7.2's driver does, and serves open files of their nodes.

It imports nothing of the device: it is given a :class:`fauxdna.bus.Bus`.
"""

from __future__ import annotations

from contextlib import ExitStack

from fauxdna._core import Completions
from fauxdna.abi.uapi import DeviceType
from fauxdna.bus import Bus
from fauxdna.log import Log

from ..errors import FauxdnaError
from .answers import BoInfo, ContextInfo, MapTarget, Qos
from .client import Client
from .config_space import ConfigSpace
from .function import Function, identify
from .gem import BufferManager, BufferObject
from .memory import Backing, BackingStore, MemfdStore
from .open_files import HardwareContext
from .pf import FirmwareLoader, Pf
from .vf import Vf

__all__ = [
    "Backing",
    "BackingStore",
    "BoInfo",
    "BufferManager",
    "BufferObject",
    "Client",
    "ContextInfo",
    "FirmwareLoader",
    "Function",
    "HardwareContext",
    "MapTarget",
    "MemfdStore",
    "Pf",
    "Qos",
    "Vf",
    "no_firmware",
    "probe",
]


def no_firmware(path: str) -> bytes:
    """A :data:`FirmwareLoader` without images: enough for a VF."""
    raise FileNotFoundError(path)


def probe(
    bus: Bus,
    name: str,
    firmware: FirmwareLoader = no_firmware,
    log: Log | None = None,
    completions: Completions | None = None,
) -> Pf | Vf:
    """Brings up the function behind ``bus`` and returns it; on failure the bus is closed.

    Args:
        bus: The function. The result owns it.
        name: What to call it in messages: its BDF.
        firmware: Gives a PF its images.
        log: Where the driver writes; a new one by default.
        completions: Serves the function's waits; by default it has its own. The caller closes it after the function.

    Raises:
        DeviceGone: ``ENODEV``, no AIE4 function answers.
        NotFound: ``ENOENT``, a firmware image is missing.
        FirmwareRefused: ``EIO`` or ``EINVAL``, PSP or SMU refused.
        DeviceTimeout: ``ETIMEDOUT`` or ``ETIME``, firmware does not answer.
        Unsupported: ``EOPNOTSUPP``, firmware speaks another protocol.
    """
    with ExitStack() as undo:
        undo.callback(bus.close)
        info = identify(ConfigSpace(bus))
        log = log or Log()
        function: Pf | Vf
        if info.device_type is DeviceType.PF:
            function = Pf(bus, name, info, log, firmware, completions)
        else:
            function = Vf(bus, name, info, log, completions)
        undo.callback(function.close)
        try:
            function.start()
        except FauxdnaError as error:
            function.log.error(str(error))
            raise
        undo.pop_all()
    return function
