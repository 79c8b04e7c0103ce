"""Buffer descriptors that AMD's own control code writes (aiebu ``test/aie4-ctrlcode``), read by our forms."""

from __future__ import annotations

from fauxdna.abi.array import CORE_BD_WORDS, MEM_BD_WORDS, MEM_LOCK_WINDOW, MEM_WINDOW, SHIM_BD_WORDS, START_QUEUE


def test_a_chain_of_a_mem_tile() -> None:
    """Three of four BDs of an S2MM channel that fills four places: the first waits for a lock, the last gives one."""
    first = MEM_BD_WORDS.decode((0x00801388, 0xFE0007A0, 0x1CC00381, 1, 1, 1, 1, 0, 0, 0, 0x14000000))
    second = MEM_BD_WORDS.decode((0x00801B28, 0x000007A0, 0x00000000, 1, 1, 1, 1, 0, 0, 0, 0x1C000000))
    last = MEM_BD_WORDS.decode((0x00802A68, 0x000007A0, 0x1C000B9B, 1, 1, 1, 1, 0, 0, 0, 0x00000000))
    assert [bd.address - MEM_WINDOW // 4 for bd in (first, second, last)] == [0x1388, 0x1388 + 0x7A0, 0x1388 + 3 * 0x7A0]
    assert [bd.length for bd in (first, second, last)] == [0x7A0] * 3
    # They are BDs 1, 2 and 4 of their channel.
    assert [(bd.use_next_bd, bd.next_bd) for bd in (first, second, last)] == [(1, 2), (1, 3), (0, 0)]
    assert (first.acquire_enable, first.acquire_id - MEM_LOCK_WINDOW, first.acquire_value, first.release_value) == (1, 12, -1, 0)
    assert (second.acquire_enable, second.release_value) == (0, 0)
    # The program sets lock 13 to 0 before.
    assert (last.release_id - MEM_LOCK_WINDOW, last.release_value) == (13, 1)


def test_a_chain_of_a_shim_tile_that_runs_six_times() -> None:
    """BD 2 of the chain 2, 3, 4, 5; its channel is started with five repeats, so the iteration wraps after six."""
    bd = SHIM_BD_WORDS.decode((0, 0x005DE000, 0x7A0, 0x03000000, 0, 0x1C000001, 1, 0x21405B80, 0x400))
    assert (bd.length, bd.use_next_bd, bd.next_bd, bd.d1_step, bd.d3_step, bd.burst) == (0x7A0, 1, 3, 1, 1, 3)
    start = START_QUEUE.decode((0x00050002,))
    assert (start.bd, start.repeat) == (2, 5)
    assert (bd.iteration_step, bd.iteration_wrap) == (0x5B80, start.repeat)
    assert (bd.enable_packet, bd.acquire_enable, bd.release_value) == (0, 0, 0)


def test_locks_of_shim_and_core_tiles() -> None:
    shim = SHIM_BD_WORDS.decode((0, 0, 0x10, 0x1F000000, 0x00800100, 1, 1, 1, 0x400))
    assert (shim.acquire_enable, shim.acquire_id, shim.release_id, shim.d0_wrap) == (1, 3, 2, 0x10)
    core = CORE_BD_WORDS.decode((0x10, 0, 0x00010001, 1, 0x00020800, 0x02043FE0))
    assert (core.length, core.acquire_enable, core.acquire_id, core.acquire_value) == (0x10, 1, 0, -1)
    assert (core.release_id, core.release_value) == (1, 1)
    assert (core.use_next_bd, core.tlast_suppress) == (0, 0)
