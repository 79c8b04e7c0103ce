"""Hardware contexts, packets and waits, through both doors. Queues are written byte by byte, not by our own client."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from _doors import HandMadeQueue
from _patience import PATIENCE, PATIENCE_MS, eventually

from fauxdna.abi.host_queue import CompletionState
from fauxdna.abi.uapi import QUERY_AIE_METADATA, BoType, DeviceType, InfoParam, Priority
from fauxdna.accel import AccelFile, Qos
from fauxdna.accel.machine import Machine
from fauxdna.errors import DeviceTimeout, FauxdnaError

COMPLETED = int(CompletionState.COMPLETED)


@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
def test_a_null_command_goes_through_doorbell_and_comes_back(file: AccelFile, padded: bool) -> None:
    queue = HandMadeQueue(file, padded=padded)
    for turn in range(100):
        sequence = queue.put()
        file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
        assert queue.read_index == turn + 1
        assert queue.completion(sequence) == COMPLETED
    queue.close()


def test_without_the_doorbell_nothing_happens(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=False)
    # A new context looks at its queue once, for packets from before a suspend.
    queue.seen()
    sequence = queue.put(ring=False)
    with pytest.raises(DeviceTimeout) as caught:
        file.wait_cmd(queue.handle, sequence, 50)
    assert caught.value.errno == errno.ETIME
    assert queue.read_index == 0
    queue.ring()
    file.wait_cmd(queue.handle, sequence, PATIENCE_MS)


def test_a_wait_sleeps_until_the_interrupt(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=False)
    used = time.thread_time()
    timer = threading.Timer(0.2, queue.put)
    timer.start()
    file.wait_cmd(queue.handle, 0, 0)
    assert queue.read_index == 1
    assert time.thread_time() - used < 0.1
    timer.join()


def test_many_threads_wait_on_one_vector(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=False)
    ended: list[int] = []

    def wait(sequence: int) -> None:
        file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
        ended.append(sequence)

    threads = [threading.Thread(target=wait, args=(sequence,)) for sequence in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    for _ in threads:
        queue.put()
        time.sleep(0.005)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(ended) == list(range(8))


def test_a_bad_packet_fails_its_context_and_no_other(file: AccelFile) -> None:
    bad, good = HandMadeQueue(file, padded=False, tiles=4), HandMadeQueue(file, padded=False, tiles=4)
    sequence = bad.put(opcode=77)
    file.wait_cmd(bad.handle, sequence, PATIENCE_MS)
    assert bad.completion(sequence) & 0xF == CompletionState.ERROR
    assert bad.completion(sequence) >> 4 == 4  # invalid packet
    sequence = good.put()
    file.wait_cmd(good.handle, sequence, PATIENCE_MS)
    assert good.completion(sequence) == COMPLETED


def test_a_context_needs_a_queue_and_tiles(file: AccelFile) -> None:
    queue = file.create_bo(4096, BoType.CMD)
    cases: list[tuple[Callable[[], object], int]] = [
        (lambda: file.create_hwctx(99, 4), errno.ENOENT),
        (lambda: file.create_hwctx(queue, 0), errno.EINVAL),
        (lambda: file.create_hwctx(queue, 13), errno.EINVAL),
        (lambda: file.destroy_hwctx(1), errno.EINVAL),
        (lambda: file.wait_cmd(1, 0, 1), errno.EINVAL),
        # amdxdna_cmd_submit asks for ops->cmd_submit before it looks at BOs or the context.
        (lambda: file.exec_cmd(1, 99), errno.EOPNOTSUPP),
        (lambda: file.exec_cmd(1, queue, type_=1), errno.EINVAL),
    ]
    for call, number in cases:
        with pytest.raises(FauxdnaError) as caught:
            call()
        assert caught.value.errno == number


def test_the_operations_that_linux_7_2_does_not_have(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=False)
    calls: list[Callable[[], object]] = [
        lambda: file.exec_cmd(queue.handle, queue.bo),
        lambda: file.config_hwctx(queue.handle, 1, 5),
        lambda: file.config_hwctx(queue.handle, 0, bytes(8)),
        lambda: file.get_info(InfoParam.FIRMWARE_VERSION, 16),
        lambda: file.get_array(0, 144, 32),
        lambda: file.set_state(0, bytes(8)),
    ]
    for call in calls:
        with pytest.raises(FauxdnaError) as caught:
            call()
        assert caught.value.errno == errno.EOPNOTSUPP


def test_metadata(file: AccelFile) -> None:
    metadata = QUERY_AIE_METADATA.unpack(file.get_info(InfoParam.AIE_METADATA, 64))
    assert (metadata.cols, metadata.core_row_count, metadata.mem_row_count, metadata.shim_row_count) == (3, 4, 1, 1)
    assert file.get_info(InfoParam.AIE_METADATA, 6) == QUERY_AIE_METADATA.pack(**metadata)[:6]
    assert (file.version().major, file.version().minor) == (0, 10)


def test_doorbells_belong_to_their_file(host: Machine, mapping_file: AccelFile) -> None:
    file = mapping_file
    queue = HandMadeQueue(file, padded=False)
    with host.open() as other, pytest.raises(FauxdnaError) as caught:
        other.mmap(4096, queue.doorbell_offset)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(FauxdnaError) as caught:
        file.mmap(8192, queue.doorbell_offset)
    assert caught.value.errno == errno.EINVAL


def test_handles_are_used_in_turn_and_priorities_are_taken(file: AccelFile) -> None:
    queue = file.create_bo(4096, BoType.CMD)
    handles = []
    for priority in Priority:
        handles.append(file.create_hwctx(queue, 4, Qos(priority=priority)).handle)
        file.destroy_hwctx(handles[-1])
    assert handles == [1, 2, 3, 4]


def test_closing_a_file_ends_its_contexts(host: Machine) -> None:
    with host.open() as file:
        HandMadeQueue(file, padded=False)
        function = file.function
    assert function.memory.count <= 1  # the queue's mapping may not be collected yet
    # 240 contexts fit: were the old ones alive, this would fail.
    with host.open() as file:
        queue = file.create_bo(4096, BoType.CMD)
        contexts = [file.create_hwctx(queue, 4) for _ in range(240)]
        assert len({context.umq_doorbell for context in contexts}) == 240
        with pytest.raises(FauxdnaError) as caught:
            file.create_hwctx(queue, 4)
        assert caught.value.errno == errno.EINVAL


def test_destroying_a_context_waits_for_the_waits_of_its_file(host: Machine, file: AccelFile) -> None:
    """``amdxdna_hwctx_destroy_rcu``; what the kernel does is seen in ``tests/system/guest/test_destroy_linux.py``."""
    queue, other = HandMadeQueue(file, padded=False, tiles=4), HandMadeQueue(file, padded=False, tiles=4)
    ends: list[str] = []

    def wait() -> None:
        file.wait_cmd(other.handle, 0, 0)
        ends.append("waited")

    def destroy() -> None:
        file.destroy_hwctx(queue.handle)
        ends.append("destroyed")

    waiter, destroyer = threading.Thread(target=wait), threading.Thread(target=destroy)
    waiter.start()
    # The file as the driver has it, whatever the door.
    (client,) = host.find(DeviceType.UMQ).clients
    assert eventually(lambda: client.waited_for(client.context(other.handle)))
    destroyer.start()

    def wait_for_the_destroyed() -> int:
        with pytest.raises(FauxdnaError) as caught:
            file.wait_cmd(queue.handle, 0, 1)
        return caught.value.errno

    assert eventually(lambda: wait_for_the_destroyed() == errno.EINVAL), "the handle is gone already"
    assert destroyer.is_alive()
    other.put()
    for thread in (waiter, destroyer):
        thread.join(PATIENCE)
    assert sorted(ends) == ["destroyed", "waited"]


def test_ctrl_c_ends_a_destruction_that_waits(host: Machine) -> None:
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        waiter = threading.Thread(target=file.wait_cmd, args=(queue.handle, 0, 0))
        waiter.start()
        assert eventually(lambda: file.waited_for(file.context(queue.handle)))
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

        def destroy() -> None:
            # Inside, however long it takes until the destruction begins.
            timer.start()
            file.destroy_hwctx(queue.handle)

        with pytest.raises(KeyboardInterrupt):
            destroy()
        timer.join()
        # It is as it was.
        queue.put()
        waiter.join(PATIENCE)
        file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
        file.destroy_hwctx(queue.handle)


def test_a_node_that_is_not_there(tmp_path: os.PathLike[str]) -> None:
    from fauxdna.accel.real import RealFile

    with pytest.raises(FauxdnaError) as caught:
        RealFile(os.path.join(tmp_path, "accel9"))
    assert caught.value.errno == errno.ENOENT
    node = os.path.join(tmp_path, "file")
    open(node, "w").close()
    with RealFile(node) as file, pytest.raises(FauxdnaError) as caught:
        file.create_bo(4096)
    assert caught.value.errno == errno.ENOTTY


def test_a_signal_ends_a_wait_without_end(file: AccelFile) -> None:
    queue = HandMadeQueue(file, padded=False)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

    def wait() -> None:
        # Inside, however long it takes until the wait begins.
        timer.start()
        file.wait_cmd(queue.handle, 5, 0)

    with pytest.raises(KeyboardInterrupt):
        wait()
    timer.join()
    file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
