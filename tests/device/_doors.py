"""Two doors to one node: the local file, and a real one whose ioctls are decoded from raw bytes and served locally."""

from __future__ import annotations

import ctypes
import struct

from fauxdna.abi import uapi
from fauxdna.abi.host_queue import HEADER_PADDED, HEADER_UNPADDED, PACKET, PACKET_SIZE
from fauxdna.abi.uapi import BoType, InfoParam, Ioctl, SyncDirection
from fauxdna.abi.uapi_next import Level
from fauxdna.accel import AccelFile, Mapping, Qos
from fauxdna.accel.local import LocalFile
from fauxdna.errors import FauxdnaError


class DecodingKernel:
    """Serves ioctls from the bytes that a real node would get. Nothing but bytes and errno crosses."""

    def __init__(self, file: LocalFile) -> None:
        self.file = file
        self.requests: list[Ioctl] = []

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        number = Ioctl(request)
        self.requests.append(number)
        structure = uapi.ARGUMENTS[number]
        assert len(argument) == structure.size == request >> 16 & 0x3FFF
        values = dict(structure.unpack(argument))
        try:
            values.update(getattr(self, number.name.lower())(values) or {})
        except FauxdnaError as error:
            raise OSError(error.errno, "from the kernel") from None
        argument[:] = structure.pack(**values)

    def mmap(self, fd: int, length: int, offset: int) -> Mapping:
        try:
            return self.file.mmap(length, offset)
        except FauxdnaError as error:
            raise OSError(error.errno, "from the kernel") from None

    def version(self, v: dict[str, int]) -> dict[str, int]:
        version = self.file.version()
        name = version.name.encode()
        ctypes.memmove(v["name"], name, min(len(name), v["name_len"]))
        return {"version_major": version.major, "version_minor": version.minor, "name_len": len(name)}

    def create_bo(self, v: dict[str, int]) -> dict[str, int]:
        if v["vaddr"]:
            table = uapi.VA_TABLE.unpack(ctypes.string_at(v["vaddr"], uapi.VA_TABLE.size))
            assert table.num_entries == 0
            return {"handle": self.file.create_bo_from_fd(table.dmabuf_fd)}
        if v["type"] not in set(BoType):
            raise OSError(22, "type")
        return {"handle": self.file.create_bo(v["size"], BoType(v["type"]), flags=v["flags"])}

    def get_bo_info(self, v: dict[str, int]) -> dict[str, int]:
        return vars(self.file.get_bo_info(v["handle"]))

    def sync_bo(self, v: dict[str, int]) -> None:
        self.file.sync_bo(v["handle"], SyncDirection(v["direction"]), v["offset"], v["size"])

    def gem_close(self, v: dict[str, int]) -> None:
        self.file.gem_close(v["handle"])

    def prime_handle_to_fd(self, v: dict[str, int]) -> dict[str, int]:
        return {"fd": self.file.prime_handle_to_fd(v["handle"])}

    def prime_fd_to_handle(self, v: dict[str, int]) -> dict[str, int]:
        return {"handle": self.file.prime_fd_to_handle(v["fd"])}

    def create_hwctx(self, v: dict[str, int]) -> dict[str, int]:
        qos = Qos(**uapi.QOS_INFO.unpack(ctypes.string_at(v["qos_p"], uapi.QOS_INFO.size)))
        info = self.file.create_hwctx(v["umq_bo"], v["num_tiles"], qos)
        return vars(info)

    def destroy_hwctx(self, v: dict[str, int]) -> None:
        self.file.destroy_hwctx(v["handle"])

    def config_hwctx(self, v: dict[str, int]) -> None:
        size = v["param_val_size"]
        value = ctypes.string_at(v["param_val"], size) if size else v["param_val"]
        self.file.config_hwctx(v["handle"], v["param_type"], value)

    def exec_cmd(self, v: dict[str, int]) -> dict[str, int]:
        handles = struct.unpack(f"<{v['arg_count']}I", ctypes.string_at(v["args"], 4 * v["arg_count"]))
        assert v["cmd_count"] == 1
        return {"seq": self.file.exec_cmd(v["hwctx"], v["cmd_handles"], handles, v["type"])}

    def wait_cmd(self, v: dict[str, int]) -> None:
        self.file.wait_cmd(v["hwctx"], v["seq"], v["timeout"])

    def get_info(self, v: dict[str, int]) -> dict[str, int]:
        held = ctypes.string_at(v["buffer"], v["buffer_size"])
        if v["param"] == InfoParam.AIE_STATUS and self.file.level is Level.NEXT:
            request = uapi.QUERY_AIE_STATUS.unpack(held)
            data, columns = self.file.aie_status(request.buffer_size)
            ctypes.memmove(request.buffer, data, len(data))
            answer = uapi.QUERY_AIE_STATUS.pack(**(dict(request) | {"cols_filled": columns}))
            ctypes.memmove(v["buffer"], answer, len(answer))
            return {"buffer_size": len(answer)}
        data = self.file.get_info(v["param"], v["buffer_size"], held)
        ctypes.memmove(v["buffer"], data, len(data))
        return {"buffer_size": len(data)}

    def get_array(self, v: dict[str, int]) -> dict[str, int]:
        size, count, data = self.file.get_array(
            v["param"], v["element_size"], v["num_element"], ctypes.string_at(v["buffer"], v["element_size"] * v["num_element"])
        )
        ctypes.memmove(v["buffer"], data, len(data))
        return {"element_size": size, "num_element": count}

    def set_state(self, v: dict[str, int]) -> None:
        self.file.set_state(v["param"], ctypes.string_at(v["buffer"], v["buffer_size"]))


class HandMadeQueue:
    """A host queue written byte by byte: header, packets at 0x80, completion words at 0x1000."""

    CAPACITY = 32

    def __init__(self, file: AccelFile, *, padded: bool, tiles: int = 12, qos: Qos | None = None) -> None:
        self.file = file
        self.bo = file.create_bo(0x2000, BoType.CMD)
        self.memory = file.mmap(0x2000, file.get_bo_info(self.bo).map_offset).memory
        self.address = file.get_bo_info(self.bo).xdna_addr
        self.layout = HEADER_PADDED if padded else HEADER_UNPADDED
        header = self.layout.pack(major=int(padded), capacity=self.CAPACITY, data_address=self.address + 0x80)
        self.memory[: len(header)] = header
        info = file.create_hwctx(self.bo, tiles, qos)
        self.handle = info.handle
        self.doorbell_offset = info.umq_doorbell
        self.doorbell = file.mmap(4096, info.umq_doorbell).memory
        self.sequence = 0

    def put(self, packet: bytes | None = None, *, ring: bool = True, **fields: int) -> int:
        """Writes a packet (TEST by default) and rings; its sequence number."""
        slot = self.sequence % self.CAPACITY
        fields = {"opcode": 2, "completion_signal": self.address + 0x1000 + 4 * slot} | fields
        data = PACKET.pack(**fields) if packet is None else packet
        self.memory[0x1000 + 4 * slot : 0x1004 + 4 * slot] = bytes(4)
        self.memory[0x80 + PACKET_SIZE * slot : 0x80 + PACKET_SIZE * (slot + 1)] = data
        self.sequence += 1
        self._store("write_index", self.sequence)
        if ring:
            self.ring()
        return self.sequence - 1

    def ring(self) -> None:
        """Writes 0 to the doorbell page."""
        memoryview(self.doorbell).cast("I")[0] = 0

    def seen(self) -> None:
        """Until the engine has looked at this new queue: ending a context waits for the engine's next look at all of them."""
        self.file.destroy_hwctx(self.file.create_hwctx(self.bo, 4).handle)

    def completion(self, sequence: int) -> int:
        at = 0x1000 + 4 * (sequence % self.CAPACITY)
        return int.from_bytes(self.memory[at : at + 4], "little")

    @property
    def read_index(self) -> int:
        return self.layout.unpack(self.memory[:128]).read_index

    def close(self) -> None:
        self.file.destroy_hwctx(self.handle)
        self.file.gem_close(self.bo)

    def _store(self, field: str, value: int) -> None:
        at = self.layout.offsets[field]
        with memoryview(self.memory) as view, view.cast("Q") as words:
            words[at // 8] = value
