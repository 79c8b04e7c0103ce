"""Guests themselves: how they start, what they share, and that nothing is left of them."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually

from fauxdna.serve import LocalDie
from fauxdna.vm import GuestDied, GuestTimeout, Iommu, Machine, Settings, Share
from fauxdna.vm.kernel import Kernel

Equipment = dict[str, dict[str, bytes]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        yield Path(name)


@pytest.fixture
def no_leftovers(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Descriptors and threads are as before, and neither files nor QEMUs are left.

    ``machine`` has made before what a process makes once, such as the descriptor by which interrupts are signalled.
    """

    def state() -> tuple[list[str], int]:
        gc.collect()
        descriptors = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # The one that lists them.
                descriptors.append(os.readlink(f"/proc/self/fd/{number}"))
        # Files are other libraries' affair.
        ours = [name for name in descriptors if name.startswith(("anon_inode:", "socket:", "/memfd:", str(folder)))]
        return sorted(ours), threading.active_count()

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = state()

    def grew() -> tuple[list[str], int]:
        # What earlier tests left may go at any time, and threads take a moment to end.
        descriptors, threads = state()
        return sorted((Counter(descriptors) - Counter(before[0])).elements()), max(0, threads - before[1])

    yield
    assert eventually(lambda: grew() == ([], 0)), grew()
    assert guests_in(folder) == []
    assert list(folder.iterdir()) == []


def test_output_and_status_are_the_commands(machine: Machine) -> None:
    done = machine.run("echo out; echo err >&2; exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_files_go_in_and_out(machine: Machine, shared: Path) -> None:
    content = os.urandom(300_000)
    (shared / "in").write_bytes(content)
    assert machine.run("cp /mnt/shared/in /mnt/shared/out").status == 0
    assert (shared / "out").read_bytes() == content


def test_a_command_that_takes_too_long_is_a_timeout(no_leftovers: None, equipment: Equipment) -> None:
    still = r"after 0\.5 s the guest still runs sleep"
    with Machine(Settings(vfs=0, verbose=True, **equipment)) as machine, pytest.raises(GuestTimeout, match=still) as late:
        machine.run(["sleep", "600"], timeout=0.5)
    # A line of every boot's end (init/main.c).
    assert "Run /init as init process" in late.value.log


def test_a_guest_that_dies_says_what_it_printed(no_leftovers: None, equipment: Equipment) -> None:
    with Machine(Settings(vfs=0, **equipment)) as machine, pytest.raises(GuestDied, match="sysrq triggered crash"):
        machine.run("echo c > /proc/sysrq-trigger")


def test_a_kernel_that_does_not_come_up_is_named(no_leftovers: None, equipment: Equipment) -> None:
    # Linux panics without a first program, and QEMU ends.
    with pytest.raises(GuestDied, match="panic"):
        Machine(Settings(vfs=0, kernel_arguments=["rdinit=/nothing", "root=/nothing"], **equipment)).boot()


def test_a_guest_that_is_silent_is_a_timeout(no_leftovers: None, equipment: Equipment) -> None:
    # No QEMU brings Linux up in a hundredth of a second.
    with pytest.raises(GuestTimeout, match=r"does not come up in 0\.01 s"):
        Machine(Settings(vfs=0, boot_seconds=0.01, **equipment)).boot()


def test_what_a_killed_process_left_goes(no_leftovers: None, folder: Path, equipment: Equipment) -> None:
    left, young, held = (folder / f"fauxdna-vm-{name}" for name in ("left", "young", "held"))
    for path in (left, young, held):
        path.mkdir()
    for path in (left, held):
        os.utime(path, (0, 0))
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(GuestDied, match="invalid option"):
        Machine(Settings(vfs=0, qemu_arguments=["-nonsense"], **equipment)).boot()
    assert sorted(path.name for path in folder.iterdir()) == ["fauxdna-vm-held", "fauxdna-vm-young"]
    os.close(descriptor)
    young.rmdir()
    held.rmdir()


def test_one_die_outlives_its_guests(no_leftovers: None, equipment: Equipment) -> None:
    with LocalDie(total_vfs=7) as die:
        for end in (None, signal.SIGKILL):
            with Machine(Settings(vfs=1, **equipment), die=die) as machine:
                assert "the same as outside" in machine.run("fauxdna-probe").stdout
                if end is not None:
                    machine.kill(end)
        assert die.functions() == (die.functions()[0],)


def test_a_guest_outlives_the_server(no_leftovers: None, equipment: Equipment) -> None:
    """QEMU 11.1 goes on with functions that read all ones; for the guest that is a removed device."""
    with Machine(Settings(vfs=1, **equipment)) as machine:
        machine.devices.server.close()
        done = machine.run("for f in 0 1; do od -An -tx1 -N4 /sys/bus/pci/devices/0000:00:05.$f/config; done")
        assert done.stdout.split() == ["ff"] * 8


def test_vfs_without_their_pf(equipment: Equipment) -> None:
    with Machine(Settings(vfs=2, pf=False, **equipment)) as machine:
        report = machine.run("fauxdna-probe").stdout
    assert report.count("the same as outside") == 2
    assert " PF," not in report


def test_memory_from_a_carve_out(equipment: Equipment) -> None:
    with Machine(Settings(vfs=1, iommu=Iommu.CARVEOUT, **equipment)) as machine:
        assert machine.run("fauxdna-probe").stdout.count("the same as outside") == 1


def test_a_kernel_of_ones_own(kernel: Kernel, equipment: Equipment) -> None:
    folder = kernel.image.parent
    with Machine(Settings(kernel=folder / "vmlinuz", modules=folder, vfs=9, memory=512, **equipment)) as machine:
        assert machine.run("fauxdna-probe").stdout.count("the same as outside") == 9


@pytest.mark.skipif(not os.environ.get("FAUXDNA_FULL"), reason="takes half a minute; set FAUXDNA_FULL=1")
def test_64_vfs(equipment: Equipment) -> None:
    """All of a die: 00:05.1 to 00:05.7, then 00:06.0 to 00:0d.0, where Linux's arithmetic on offset 1 and stride 1 has them."""
    with Machine(Settings(vfs=64, **equipment)) as machine:
        assert machine.run("fauxdna-probe").stdout.count("the same as outside") == 64
        found = machine.run("cd /sys/bus/pci/drivers/amdxdna && echo 0000:*").stdout.split()
    assert found == sorted(f"0000:00:{routing >> 3:02x}.{routing & 7}" for routing in range(0x28, 0x28 + 65))


def test_a_read_only_share_takes_nothing(tmp_path: Path, equipment: Equipment) -> None:
    with Machine(Settings(vfs=0, shares=[Share(tmp_path, "/mnt/x", read_only=True)], **equipment)) as machine:
        assert machine.run("echo > /mnt/x/file").status != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(number: signal.Signals, folder: Path, equipment: Equipment) -> None:
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "fauxdna", "vm", "--vfs", "0", "--", "sh", "-c", "echo running; sleep 600"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        assert guests_in(folder)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
    assert eventually(lambda: not guests_in(folder))
    assert not list(folder.iterdir())


def test_a_time_limit_gives_the_exit_status_of_timeout(folder: Path, kernel: Kernel) -> None:
    command = [sys.executable, "-m", "fauxdna", "vm", "--vfs", "0", "--timeout", "0.01", "--", "true"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    # timeout(1): "If the command times out, and --preserve-status is not set, then exit with status 124."
    assert (done.returncode, done.stdout) == (124, "")
    assert "the guest does not come up in 0.01 s" in done.stderr
    assert not guests_in(folder)


def guests_in(folder: Path) -> list[str]:
    """QEMUs whose files are in a folder."""
    return [line for line in processes() if f"file:{folder}" in line]


def processes() -> Iterator[str]:
    """Command lines of this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
