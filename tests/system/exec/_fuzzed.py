"""What the fuzzer starts from: an argument for each ioctl that works, or nearly, in the fuzzer's own memory."""

from __future__ import annotations

import struct

from fauxdna.abi import drm, uapi
from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import BoType, Ioctl

_PAGE = 4096
_BASE = 0x1000_0000_0000
_DATA = _BASE + _PAGE
"""Where ``fuzzer.c`` puts the argument, and the data."""
_QOS, _HANDLES, _POINTS, _NAME, _TABLE, _EXPORTED, _ROOM = (_DATA + 256 * index for index in range(7))
_EVENTFD = 10

_STRUCTURES = {int(number): structure for number, structure in (uapi.ARGUMENTS | drm.ARGUMENTS).items()}
_BO = {"size": 2 * _PAGE, "type": BoType.SHARE}
_SYNCOBJS = {"handles": _HANDLES, "count_handles": 2}
_VALID: list[tuple[int, dict[str, int]]] = [
    (Ioctl.CREATE_BO, _BO),
    (Ioctl.CREATE_BO, _BO | {"type": BoType.CMD}),
    (Ioctl.CREATE_BO, {"type": BoType.SHARE, "vaddr": _TABLE}),
    (Ioctl.CREATE_BO, {"type": BoType.SHARE, "vaddr": _EXPORTED}),
    (Ioctl.GET_BO_INFO, {"handle": 1}),
    (Ioctl.SYNC_BO, {"handle": 1, "size": _PAGE}),
    (Ioctl.GEM_CLOSE, {"handle": 2}),
    (CoreIoctl.GEM_FLINK, {"handle": 1}),
    (CoreIoctl.GEM_OPEN, {"name": 1}),
    (Ioctl.PRIME_HANDLE_TO_FD, {"handle": 1}),
    (Ioctl.PRIME_FD_TO_HANDLE, {"fd": _EVENTFD + 2}),
    (Ioctl.CREATE_HWCTX, {"qos_p": _QOS, "umq_bo": 1, "num_tiles": 4}),
    (Ioctl.DESTROY_HWCTX, {"handle": 1}),
    (Ioctl.CONFIG_HWCTX, {"handle": 1}),
    (Ioctl.EXEC_CMD, {"hwctx": 1, "cmd_handles": 1, "cmd_count": 1, "args": _HANDLES, "arg_count": 2}),
    (Ioctl.WAIT_CMD, {"hwctx": 1, "timeout": 1}),
    (Ioctl.WAIT_CMD, {"hwctx": 1, "timeout": 1, "seq": 3}),
    (Ioctl.GET_INFO, {"param": 1, "buffer_size": 64, "buffer": _ROOM}),
    (Ioctl.GET_ARRAY, {"element_size": 144, "num_element": 4, "buffer": _ROOM}),
    (Ioctl.SET_STATE, {"buffer_size": 8, "buffer": _ROOM}),
    (Ioctl.VERSION, {f"{name}_len": 16 for name in ("name", "date", "desc")} | {"name": _ROOM, "date": _ROOM, "desc": _ROOM}),
    (CoreIoctl.GET_CAP, {"capability": 5}),
    (CoreIoctl.SET_CLIENT_NAME, {"name_len": 4, "name": _NAME}),
    (CoreIoctl.SYNCOBJ_CREATE, {}),
    (CoreIoctl.SYNCOBJ_CREATE, {"flags": 1}),
    (CoreIoctl.SYNCOBJ_DESTROY, {"handle": 3}),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 1}),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 2, "flags": 1}),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": _EVENTFD + 2}),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": _EVENTFD + 3, "handle": 1, "flags": 1}),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"src_handle": 2, "dst_handle": 1, "dst_point": 2}),
    (CoreIoctl.SYNCOBJ_WAIT, _SYNCOBJS | {"flags": 2}),
    (CoreIoctl.SYNCOBJ_WAIT, _SYNCOBJS | {"flags": 3, "timeout_nsec": (1 << 62)}),
    (CoreIoctl.SYNCOBJ_TIMELINE_WAIT, _SYNCOBJS | {"points": _POINTS, "flags": 6}),
    (CoreIoctl.SYNCOBJ_RESET, _SYNCOBJS),
    (CoreIoctl.SYNCOBJ_SIGNAL, _SYNCOBJS),
    (CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL, _SYNCOBJS | {"points": _POINTS}),
    (CoreIoctl.SYNCOBJ_QUERY, _SYNCOBJS | {"points": _ROOM}),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"handle": 1, "fd": _EVENTFD}),
]


def _data() -> bytes:
    data = bytearray(_PAGE)
    for address, content in (
        (_HANDLES, struct.pack("<2I", 1, 2)),
        (_POINTS, struct.pack("<2Q", 1, 2)),
        (_NAME, b"name"),
        (_TABLE, uapi.VA_TABLE.pack(dmabuf_fd=-1, num_entries=1) + uapi.VA_ENTRY.pack(vaddr=_DATA, len=_PAGE)),
        (_EXPORTED, uapi.VA_TABLE.pack(dmabuf_fd=_EVENTFD + 2)),
    ):
        data[address - _DATA : address - _DATA + len(content)] = content
    return bytes(data)


def arguments() -> list[str]:
    """The fuzzer's arguments after the count of calls."""
    valid = [(int(number), _STRUCTURES[int(number)].pack(**values)) for number, values in _VALID]
    # A list of at most 256, in which every number occurs.
    rest = [int(number) for number in (*Ioctl, *CoreIoctl) if int(number) not in dict(valid)]
    requests = valid * ((256 - len(rest)) // len(valid)) + [(number, bytes(number >> 16 & 0x3FFF)) for number in rest]
    return [_data().hex(), *(f"{number:#x}={argument.hex()}" for number, argument in requests)]
