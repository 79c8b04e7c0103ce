"""Faults injected into the device, and what our driver makes of each: errnos of docs/errors.md."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

import pytest
from _doors import HandMadeQueue
from _patience import PATIENCE, PATIENCE_MS, eventually

from fauxdna.abi.firmware import FirmwareKind
from fauxdna.accel.machine import Machine
from fauxdna.bus import Region
from fauxdna.device.faults import Faults, MailboxFaults
from fauxdna.driver import Pf, Vf, probe
from fauxdna.errors import DeviceError, DeviceTimeout, FirmwareRefused, InvalidArgument, MessageRefused
from fauxdna.firmware import build_images, image_loader
from fauxdna.serve import Fault, LocalDie

PF, VF = "0000:05:00.0", "0000:05:00.1"
TILE_INFO = 0x30006


def works(host: Machine) -> bool:
    """A packet on the VF's node completes."""
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        sequence = queue.put()
        file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
        word = queue.completion(sequence)
        queue.close()
    return word == 4


@pytest.mark.parametrize(
    "text",
    [
        "mailbox-silent",
        "message-refused:on=pf,after=3",
        "lost-interrupt:vector=3,every=2",
        "context-error:every=10,reason=4",
        "stale-queue:read=7,write=9",
    ],
)
def test_a_fault_is_written_as_it_is_read(text: str) -> None:
    assert str(Fault.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("fire", "mailbox-silent"),
        ("mailbox-slow:vector=1", "on, opcode, ms"),
        ("lost-interrupt:vector=8", "0 to 7"),
        ("lost-interrupt:every=0", "1 to"),
        ("lost-interrupt:every=often", "1 to"),
        ("mailbox-silent:on=die", "all, pf, vf"),
        ("firmware-tampered:image=gpu", "npu, cert"),
        ("stale-queue:read=-1", "0 to 18446744073709551615"),
    ],
)
def test_what_is_no_fault_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Fault.parse(text)
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("name", ["npu", "cert"])
def test_the_psp_refuses_tampered_firmware(name: str) -> None:
    with LocalDie(faults=[Fault.parse(f"firmware-tampered:image={name}")]) as die:
        with pytest.raises(FirmwareRefused) as refused:
            probe(die.open(PF), PF, image_loader())
        assert refused.value.errno == errno.EIO
        assert f"{name} image: signature does not match" in str([str(entry) for entry in die.log.entries()])
        die.inject()
        pf = probe(die.open(PF), PF, image_loader())
        pf.close()


def test_a_silent_mailbox_times_out_and_a_fresh_probe_works(die: LocalDie) -> None:
    pf = probe(die.open(PF), PF, image_loader())
    assert isinstance(pf, Pf)
    pf.sriov_configure(1)
    die.inject(Fault.parse(f"mailbox-silent:on=vf,opcode={TILE_INFO:#x},after=1"))
    vf = probe(die.open(VF), VF)
    assert isinstance(vf, Vf)
    # The first was answered, the second is not; other messages are.
    pending = vf.management.send("AIE_TILE_INFO")
    with pytest.raises(DeviceTimeout) as late:
        pending.wait(0.05)
    assert late.value.errno == errno.ETIME
    vf.close()
    die.inject()
    vf = probe(die.open(VF), VF)
    vf.management.call("AIE_TILE_INFO")
    vf.close()
    pf.close()


def test_a_refused_message_is_not_worked_and_the_next_one_may_be(die: LocalDie) -> None:
    pf = probe(die.open(PF), PF, image_loader())
    assert isinstance(pf, Pf)
    die.inject(Fault.parse("message-refused:opcode=0x20001,after=1"))
    for count, refused in ((2, False), (1, True)):
        if refused:
            with pytest.raises(MessageRefused, match="CREATE_VFS") as error:
                pf.sriov_configure(count)
            # As Linux 7.2 aie_send_mgmt_msg_wait for a status that is not SUCCESS.
            assert (error.value.errno, error.value.status) == (errno.EINVAL, 1)
            assert die.functions() == (PF,)
        else:
            pf.sriov_configure(count)
            assert len(die.functions()) == 1 + count
            pf.sriov_configure(0)
    die.inject()
    pf.sriov_configure(1)
    pf.close()


@pytest.mark.parametrize(("write", "done"), [(0, False), (1, True)])
def test_a_stale_queue_says_what_was_never_submitted(host: Machine, die: LocalDie, write: int, done: bool) -> None:
    """Linux 7.2 get_read_index takes no read_index beyond write_index; one within says that the packets before are done."""
    die.inject(Fault.parse(f"stale-queue:write={write}"))
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        assert queue.read_index == 1
        if done:
            file.wait_cmd(queue.handle, 0, PATIENCE_MS)
        else:
            with pytest.raises(DeviceTimeout):
                file.wait_cmd(queue.handle, 0, 20)
        queue.close()
    die.inject()
    assert works(host)


def test_slow_firmware_is_waited_for_and_others_do_not_wait(die: LocalDie) -> None:
    pf = probe(die.open(PF), PF, image_loader())
    assert isinstance(pf, Pf)
    pf.sriov_configure(2)
    vfs = [probe(die.open(f"0000:05:00.{number}"), f"vf{number}") for number in (1, 2)]
    held: list[tuple[float, Callable[[], None]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MailboxFaults, "later", lambda _, seconds, action: held.append((seconds, action)))
        die.inject(Fault.parse("mailbox-slow:ms=300,on=vf"))
        first, second = (vf.management.send("AIE_TILE_INFO") for vf in vfs)
        # The PF answers while both VFs' firmware takes its time.
        with pytest.raises(MessageRefused):
            pf.management.finish(pf.management.send("ATTACH_WORK_BUFFER"), PATIENCE)
    assert first.response is second.response is None
    assert [seconds for seconds, _ in held] == [0.3, 0.3]
    for _, action in held:
        with die._die.lock:
            action()
    first.wait(PATIENCE)
    second.wait(PATIENCE)
    die.inject(Fault.parse("mailbox-slow:ms=50,on=vf"))
    began = time.monotonic()
    vfs[0].management.send("AIE_TILE_INFO").wait(PATIENCE)
    assert time.monotonic() - began >= 0.05
    for vf in vfs:
        vf.close()
    pf.close()


def test_a_mailbox_that_is_reset_forgets_a_late_answer(die: LocalDie) -> None:
    pf = probe(die.open(PF), PF, image_loader())
    die.inject(Fault.parse("mailbox-slow:ms=50"))
    pf.management.send("ATTACH_WORK_BUFFER", buffer_size=0)
    pf.close()
    die.inject()
    time.sleep(0.1)
    pf = probe(die.open(PF), PF, image_loader())
    pf.close()


def test_a_lost_interrupt_costs_a_wait_its_whole_time_and_no_result(host: Machine, die: LocalDie) -> None:
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        die.inject(Fault.parse("lost-interrupt:on=vf"))
        with pytest.raises(DeviceTimeout) as late:
            file.wait_cmd(queue.handle, 7, 10)
        assert late.value.errno == errno.ETIME
        done_at: list[float] = []
        watch = threading.Thread(target=lambda: eventually(lambda: queue.read_index == 1) and done_at.append(time.monotonic()))
        watch.start()
        began = time.monotonic()
        sequence = queue.put()
        # As Linux 7.2, which looks at read_index once more when its time is over.
        try:
            file.wait_cmd(queue.handle, sequence, 200)
        except DeviceTimeout:
            late_itself = True
        else:
            late_itself = False
        watch.join()
        # On a machine that is very busy, the packet itself may have taken longer.
        assert not late_itself or done_at[0] > began + 0.2
        assert (queue.read_index, queue.completion(sequence)) == (1, 4)
        die.inject()
        sequence = queue.put()
        file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
        queue.close()


def test_every_second_packet_fails_and_the_context_goes_on(host: Machine, die: LocalDie) -> None:
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        die.inject(Fault.parse("context-error:every=2,reason=3"))
        words = []
        for _ in range(4):
            sequence = queue.put()
            file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
            words.append(queue.completion(sequence))
        # (e << 4) | 5 of an error e, docs/errors.md; 4 is completed.
        assert words == [4, 0x35, 4, 0x35]
        queue.close()
    die.inject()
    assert works(host)


def test_an_unplugged_vf_reads_all_ones_and_comes_back(host: Machine, die: LocalDie) -> None:
    with host.open() as file:
        queue = HandMadeQueue(file, padded=False)
        assert queue.completion(queue.put()) in (0, 4)
        die.unplug(VF)
        # The mapped doorbell page reads all ones too; nobody serves what is queued now.
        assert bytes(queue.doorbell[:64]) == b"\xff" * 64
        late = queue.put()
        with pytest.raises(DeviceTimeout):
            file.wait_cmd(queue.handle, late, 20)
        with pytest.raises(DeviceError):
            HandMadeQueue(file, padded=False)
    die.plug(VF)


def test_unplug_and_plug_again_and_again(die: LocalDie) -> None:
    for _ in range(3):
        with Machine(die, image_loader(), kick_fd=die.kick_fd, telemetry=die) as host:
            assert works(host)
            die.unplug(PF)
            assert die.functions() == (PF,)
        die.plug(PF)
    with die.open(PF) as bus:
        assert bus.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f217")


def test_without_faults_nothing_is_in_the_way(die: LocalDie) -> None:
    with Machine(die, image_loader(), kick_fd=die.kick_fd, telemetry=die):
        functions = die._die.functions().values()
        assert [function.mailbox.faults for function in functions] == [None, None]
    data = build_images()["npu.dev.sbin"]
    assert Faults((), die._die.lock).tamper(FirmwareKind.NPU, data) is data
