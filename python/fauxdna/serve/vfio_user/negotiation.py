"""VERSION: what client and server agree on before anything else."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from typing import Any, Final

from fauxdna.abi import vfio_user as abi
from fauxdna.bus import BusError

_FDS_DEFAULT: Final = 1
"""What a client that does not say takes in one message."""


@dataclass(frozen=True)
class Agreement:
    """What the client can take: descriptors in one message, bytes in one read. ``reply`` is the payload of the answer."""

    max_msg_fds: int
    max_data_xfer_size: int
    reply: bytes


def negotiate(payload: bytes) -> Agreement:
    """Answers a VERSION payload; ``EINVAL`` for another major version, or capabilities that are not what the protocol says."""
    if len(payload) < abi.VERSION.size:
        raise BusError(errno.EINVAL, f"VERSION of {len(payload)} bytes; it has at least {abi.VERSION.size}")
    version = abi.VERSION.unpack(payload)
    if version.major != abi.MAJOR:
        raise BusError(errno.EINVAL, f"protocol version {version.major}.{version.minor}; this server has {abi.MAJOR}.{abi.MINOR}")
    wanted = _capabilities(payload[abi.VERSION.size :])
    fds = _number(wanted, "max_msg_fds", _FDS_DEFAULT)
    size = _number(wanted, "max_data_xfer_size", abi.MAX_DATA_XFER_SIZE)
    pages = _number(wanted, "pgsizes", abi.PAGE_SIZES)
    _number(wanted, "max_dma_maps", abi.MAX_DMA_MAPS)
    if not pages & abi.PAGE_SIZES:
        raise BusError(errno.EINVAL, f"pgsizes {pages:#x}: DMA maps have pages of {abi.PAGE_SIZES:#x} bytes")
    multiple = wanted.get("write_multiple", False)
    if not isinstance(multiple, bool):
        raise BusError(errno.EINVAL, "write_multiple is true or false")
    own: dict[str, Any] = {
        "max_msg_fds": abi.MAX_MSG_FDS,
        "max_data_xfer_size": abi.MAX_DATA_XFER_SIZE,
        "max_dma_maps": abi.MAX_DMA_MAPS,
        "pgsizes": abi.PAGE_SIZES,
    }
    if multiple:
        own["write_multiple"] = True
    reply = abi.VERSION.pack(major=abi.MAJOR, minor=min(version.minor, abi.MINOR))
    return Agreement(fds, min(size, abi.MAX_DATA_XFER_SIZE), reply + json.dumps({"capabilities": own}).encode() + b"\0")


def _capabilities(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    if len(data) > abi.VERSION_DATA_MAX or data[-1:] != b"\0":
        raise BusError(
            errno.EINVAL, f"version data of {len(data)} bytes; it has up to {abi.VERSION_DATA_MAX} and ends with a NUL character"
        )
    try:
        document = json.loads(data[:-1].decode() or "{}")
    except (ValueError, RecursionError):
        raise BusError(errno.EINVAL, "version data is not JSON") from None
    capabilities = document.get("capabilities", {}) if isinstance(document, dict) else None
    if not isinstance(capabilities, dict):
        raise BusError(errno.EINVAL, "version data is an object with an object of capabilities in it")
    return capabilities


def _number(capabilities: dict[str, Any], name: str, default: int) -> int:
    value = capabilities.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise BusError(errno.EINVAL, f"{name} {str(value)[:32]} is no 64-bit number")
    return int(value)
