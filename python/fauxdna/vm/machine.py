"""A guest with a die: boots it, runs commands in it, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from fauxdna.abi import pci
from fauxdna.cache import cache_folder
from fauxdna.errors import InvalidArgument, NotFound
from fauxdna.serve import Fault, LocalDie

from .accelerator import choose
from .agent import INPUT, Agent, Boot, Completed, Ended, Sink
from .command import (
    CARVEOUT_ADDRESS,
    CARVEOUT_SIZE,
    ROOT_TAG,
    SHARES,
    SLOTS,
    Accelerator,
    Iommu,
    Layout,
    Share,
    command_line,
    share_tag,
)
from .devices import Devices
from .errors import GuestDied, GuestError, GuestTimeout
from .initramfs import DRIVER, MODPROBE_FILE, ROOT_MODULES, SHARE_MODULES, busybox, initramfs
from .kernel import Kernel, own_kernel, stock_kernel
from .packages import Progress
from .qemu import find_qemu

BOOT_SECONDS: Final = 120.0
COMMAND_SECONDS: Final = 600.0
CPUS: Final = 255
"""Of a guest; QEMU's q35 takes more only with x2APIC and interrupt remapping."""
_END_SECONDS: Final = 3.0
_LOG_LINES: Final = 60
"""Enough for a panic with its trace."""
_SOCKET_PATH_MAX: Final = 80
"""Of a folder for sockets; the whole path has 107 bytes."""
_FOLDER_PREFIX: Final = "fauxdna-vm-"
_LEFT_SECONDS: Final = 60.0
"""Between making its folder and locking it a process does not take so long."""


@dataclass(frozen=True)
class Settings:
    """What the guest is to be."""

    kernel: Path | None = None
    """A bzImage or vmlinux; Debian's Linux 7.2 by default."""
    modules: Path | None = None
    """The modules that belong to ``kernel``."""
    vfs: int = 1
    pf: bool = True
    """Whether the guest gets the PF and makes the VFs itself. Otherwise the PF's driver runs outside, the guest gets VFs only."""
    memory: int = 1024
    """MiB."""
    cpus: int = 1
    iommu: Iommu = Iommu.INTEL
    accelerator: Accelerator = Accelerator.AUTO
    shares: Sequence[Share] = ()
    root: Path | None = None
    """A user space for the guest's commands; busybox by default."""
    qemu_arguments: Sequence[str] = ()
    kernel_arguments: Sequence[str] = ()
    firmware: Mapping[str, bytes] | None = None
    """Images by file name; the package's own by default."""
    programs: Mapping[str, bytes] = field(default_factory=dict)
    """Executables for the guest's ``/usr/bin``, by name."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Other files for the guest, by absolute path."""
    driver_parameters: Sequence[str] = ()
    """More parameters of amdxdna, as ``name=value``."""
    mirror: bool = True
    """See :class:`fauxdna.serve.LocalDie`; a die that is given has made its choice."""
    faults: Sequence[Fault] = ()
    """What goes wrong in the device from the start."""
    console: bool = False
    """The serial console goes to the terminal, with a shell on it, and no commands are taken."""
    verbose: bool = False
    """The kernel prints everything to the console, not only warnings."""
    reboots: bool = False
    """The guest may reboot (:meth:`Machine.reboot`); then a panic does not end QEMU, but starts the guest again."""
    boot_seconds: float = BOOT_SECONDS

    def check(self) -> None:
        """Refuses what no guest can be."""
        limit = pci.TOTAL_VFS if self.pf else SLOTS
        if not 0 <= self.vfs <= limit:
            why = f"a PF has up to {limit}" if self.pf else f"there are {SLOTS} slots for them"
            raise InvalidArgument(f"{self.vfs} VFs: {why}", f"ask for 0 to {limit}")
        if len(self.shares) + (self.root is not None) > SHARES:
            raise InvalidArgument(f"{len(self.shares)} shares: there are {SHARES} slots, one for the root", "share fewer")
        if not self.pf and not self.vfs:
            raise InvalidArgument("a guest without PF and without VFs has no device", "give it a VF")
        carved = CARVEOUT_ADDRESS + (self.vfs + self.pf) * CARVEOUT_SIZE >> 20
        least = max(1024, carved) if self.iommu is Iommu.CARVEOUT else 256
        if self.memory < least:
            raise InvalidArgument(f"{self.memory} MiB of memory are too few for this guest", f"give at least {least}")
        if not 0 < self.cpus <= CPUS:
            raise InvalidArgument(f"{self.cpus} processors for a guest", f"ask for 1 to {CPUS}")
        if self.kernel is None and self.modules is not None:
            raise InvalidArgument("modules were given without their kernel", "name the image too: --kernel IMAGE")
        for share in self.shares:
            if not share.folder.is_dir():
                raise NotFound(f"{share.folder} is no folder", "share one that exists")


class Machine:
    """A guest. Use it as a context manager, or call :meth:`boot` and :meth:`close`.

    ::

        with Machine(Settings(vfs=2)) as machine:
            assert machine.run(["ls", "/dev/accel"]).status == 0

    QEMU ends with the thread that called :meth:`boot`, however that ends.

    Args:
        settings: What it is to be.
        die: The die whose functions it gets; a new one, closed with the machine, by default.
        devices: A die and its server that outlive the machine, in place of ``die``: those of another machine with these settings.
        progress: Told what happens before the boot.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        die: LocalDie | None = None,
        devices: Devices | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.settings.check()
        self._progress = progress or (lambda _text: None)
        self._cleanup = ExitStack()
        self._agent: Agent | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._given = die
        self._lasting = devices
        self._devices: Devices | None = None
        self.booted = Boot()
        """How the boot went."""
        self.accelerator = self.settings.accelerator

    @property
    def devices(self) -> Devices:
        """The die and its server, while the guest runs."""
        if self._devices is None:
            raise InvalidArgument("the guest does not run", "boot it first")
        return self._devices

    def boot(self) -> Boot:
        """Starts the guest and waits until it takes commands (with ``console``: until it has ended)."""
        try:
            return self._boot()
        except BaseException:
            self.close()
            raise

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = COMMAND_SECONDS,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        stdin: int | None = None,
    ) -> Completed:
        """Runs a shell script, or a program with arguments, in the guest. See :meth:`fauxdna.vm.agent.Agent.run`."""
        if self._agent is None:
            raise InvalidArgument("the guest does not run", "boot it first")
        try:
            return self._agent.run(command, timeout, stdout, stderr, stdin)
        except Ended:
            raise self._died("the guest ended while a command ran") from None
        except GuestTimeout as silent:
            raise self._late(silent) from None

    def reboot(self) -> Boot:
        """Has the guest reboot, which resets its functions, and waits until it takes commands again. For ``Settings.reboots``."""
        if self._agent is None or not self.settings.reboots:
            raise InvalidArgument("the guest does not run, or QEMU ends with its reboot", "boot it with Settings(reboots=True)")
        try:
            self.booted = self._agent.reboot(self.settings.boot_seconds)
        except Ended:
            raise self._died("the guest ended while it rebooted") from None
        except GuestTimeout as silent:
            raise self._late(silent) from None
        self.booted.problems += self.devices.problems
        return self.booted

    def dmesg(self) -> str:
        """The guest's kernel log."""
        return self.run(["dmesg"]).stdout

    def console_log(self) -> str:
        """What the kernel printed so far; still there when the guest has died."""
        log = self._folder / "console" if self._folder else None
        return log.read_text(errors="replace") if log and log.exists() else ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends QEMU by a signal, as a crash would; :meth:`close` is still to be called."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()

    def close(self) -> None:
        """Ends the guest and removes all that it needed. May be called twice."""
        self._cleanup.close()
        self._agent = self._process = self._devices = None

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _boot(self) -> Boot:
        settings = self.settings
        self._folder = folder = folder_for_sockets(self._cleanup)
        qemu = find_qemu(self._progress)
        kernel = own_kernel(settings.kernel, settings.modules, folder) if settings.kernel else stock_kernel(self._progress)
        self.accelerator = choose(settings.accelerator, qemu, kernel, self._progress)
        initrd = folder / "initrd"
        archive = self._initramfs(kernel)
        try:
            initrd.write_bytes(archive)
        except OSError as error:
            raise GuestError(f"{initrd}: {error.strerror}", "make room there, or name another folder in TMPDIR") from error
        if self._lasting is not None:
            self._devices = devices = self._lasting
            devices.renew()
        else:
            self._devices = devices = self._cleanup.enter_context(
                Devices(folder, settings.vfs, settings.pf, self._given, settings.mirror, settings.faults)
            )
        agent = None if settings.console else Agent(folder / INPUT)
        if agent is not None:
            self._cleanup.callback(agent.close)
        layout = Layout(
            kernel=kernel.image,
            initrd=initrd,
            memory=settings.memory,
            cpus=settings.cpus,
            accelerator=self.accelerator,
            iommu=settings.iommu,
            functions=devices.sockets,
            shares=settings.shares,
            root=settings.root,
            ports={name: end.fileno() for name, end in agent.guest_ends.items()} if agent else {},
            sockets={INPUT: folder / INPUT} if agent else {},
            qtest=devices.qtest_end,
            console=None if settings.console else folder / "console",
            append=[
                *(f"{DRIVER}.{text}" for text in self._parameters()),
                *settings.kernel_arguments,
                *([] if settings.verbose or settings.console else ["loglevel=5"]),
            ],
            reboots=settings.reboots,
            arguments=settings.qemu_arguments,
        )
        self._progress(f"booting Linux {kernel.release} with {self.accelerator.value}")
        begun = time.monotonic()
        self._start([*qemu.command, *qemu.options(), *command_line(layout)], {**os.environ, **qemu.environment}, layout)
        devices.started()
        if agent is None:
            self._wait()
            return Boot()
        agent.started()
        self._agent = agent
        try:
            self.booted = agent.wait_ready(begun, settings.boot_seconds)
            self.booted.problems += devices.problems
            return self.booted
        except Ended:
            raise self._died("the guest ended while it booted") from None
        except GuestTimeout as silent:
            raise self._late(silent) from None

    def _initramfs(self, kernel: Kernel) -> bytes:
        settings = self.settings
        wanted = [DRIVER]
        if settings.root:
            wanted += ROOT_MODULES
        elif settings.shares:
            wanted += SHARE_MODULES
        boot = [f"overlay {ROOT_TAG}"] if settings.root else []
        boot += [
            f"share {share_tag(index)} {shlex.quote(share.place)} {'ro' if share.read_only else 'rw'}"
            for index, share in enumerate(settings.shares)
        ]
        if settings.console:
            columns, rows = shutil.get_terminal_size()
            boot.append(f"terminal {rows} {columns} {shlex.quote(os.environ.get('TERM', ''))}")
        boot += [] if kernel.modules.built_in(DRIVER) else [f"load {DRIVER} {' '.join(self._parameters())}"]
        if settings.pf and settings.vfs:
            boot.append(f"vfs {settings.vfs}")
        if settings.iommu is Iommu.CARVEOUT:
            boot.append(f"carveout {CARVEOUT_SIZE:#x} {CARVEOUT_ADDRESS:#x}")
        return initramfs(
            busybox(self._progress),
            kernel.modules,
            kernel.release,
            wanted,
            boot=boot,
            firmware=settings.firmware,
            programs=settings.programs,
            more={**settings.files, MODPROBE_FILE: f"options {DRIVER} {' '.join(self._parameters())}\n".encode()},
        )

    def _parameters(self) -> list[str]:
        """What amdxdna is loaded with."""
        return [*(["force_iova=1"] if self.settings.iommu is Iommu.INTEL else []), *self.settings.driver_parameters]

    def _start(self, command: list[str], environment: dict[str, str], layout: Layout) -> None:
        assert self._folder is not None
        errors = (self._folder / "qemu").open("wb")
        self._cleanup.callback(errors.close)
        descriptors = [*layout.ports.values(), *([] if layout.qtest is None else [layout.qtest])]
        self._process = process = subprocess.Popen(
            command,
            env=environment,
            stdin=None if layout.console is None else subprocess.DEVNULL,
            stdout=None if layout.console is None else errors,
            stderr=errors,
            pass_fds=descriptors,
            # Ctrl-C is for this process, which ends the guest in order.
            start_new_session=layout.console is not None,
        )
        self._cleanup.callback(_end, process)

    def _wait(self) -> None:
        assert self._process is not None
        with _terminal_kept(), _interrupts_for_guest():
            status = self._process.wait()
        if status:
            raise self._died(f"QEMU ended with status {status}")

    def _died(self, problem: str) -> GuestError:
        remedy = "look at what it printed, or boot it with --dmesg for the whole log"
        if not self.console_log():
            remedy = f"look at what QEMU printed; a damaged file in {cache_folder()} is fetched anew once its folder is removed"
        return GuestDied(problem, remedy, log=self._printed())

    def _late(self, silent: GuestTimeout) -> GuestError:
        return GuestTimeout(silent.problem, silent.remedy, log=self._printed())

    def _printed(self) -> str:
        """The end of what kernel and QEMU printed."""
        assert self._folder is not None
        said = (self._folder / "qemu").read_text(errors="replace").splitlines()
        return "\n".join([*self.console_log().splitlines()[-_LOG_LINES:], *said])


def folder_for_sockets(cleanup: ExitStack) -> Path:
    """A folder with a short name, locked as long as this process uses it; those that killed processes left go."""
    places = [Path(tempfile.gettempdir()), Path("/tmp")]
    place = places[len(str(places[0])) + len(_FOLDER_PREFIX) + 8 > _SOCKET_PATH_MAX]
    for left in place.glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError), _folder_lock(left):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=place))
    except OSError as error:
        raise GuestError(f"no folder can be made in {place}: {error.strerror}", "name another one in TMPDIR") from error
    cleanup.enter_context(_folder_lock(folder))
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Holds a folder; BlockingIOError if another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _interrupts_for_guest() -> Iterator[None]:
    """Ctrl-C belongs to the guest while its console has the terminal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _terminal_kept() -> Iterator[None]:
    """The terminal is afterwards as before, also where QEMU was killed and left it raw."""
    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        yield
    finally:
        if before is not None:
            with suppress(termios.error):  # It has gone.
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
