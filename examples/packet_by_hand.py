"""Below the runtime: bring a die up with the driver, and send it a packet by hand: ``python examples/packet_by_hand.py``."""

from __future__ import annotations

import struct

from fauxdna.abi.host_queue import DOORBELL_RING, HEADER_UNPADDED, PACKET, PacketOpcode
from fauxdna.abi.uapi import BoType
from fauxdna.accel.machine import Machine
from fauxdna.firmware import image_loader
from fauxdna.serve import LocalDie

PACKETS_AT, COMPLETION_AT, QUEUE_SIZE = 0x80, 0x1000, 0x2000


def main() -> None:
    """Header, context, packet, doorbell, wait."""
    with (
        LocalDie() as die,
        Machine(die, image_loader(), log=die.log) as machine,
        machine.open() as file,
    ):
        bo = file.create_bo(QUEUE_SIZE, BoType.CMD)
        info = file.get_bo_info(bo)
        queue = file.mmap(QUEUE_SIZE, info.map_offset).memory
        header = HEADER_UNPADDED.pack(capacity=32, data_address=info.xdna_addr + PACKETS_AT)
        queue[: len(header)] = header

        context = file.create_hwctx(bo, num_tiles=4)
        doorbell = file.mmap(4096, context.umq_doorbell).memory
        packet = PACKET.pack(opcode=PacketOpcode.TEST, completion_signal=info.xdna_addr + COMPLETION_AT)
        queue[PACKETS_AT : PACKETS_AT + len(packet)] = packet
        struct.pack_into("<Q", queue, HEADER_UNPADDED.offsets["write_index"], 1)
        struct.pack_into("<I", doorbell, 0, DOORBELL_RING)

        file.wait_cmd(context.handle, 0, 1000)
        print(f"completion word {struct.unpack_from('<I', queue, COMPLETION_AT)[0]:#x}")
        file.destroy_hwctx(context.handle)
        print(*die.log.entries(), sep="\n")


if __name__ == "__main__":
    main()
