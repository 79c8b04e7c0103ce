"""``fauxdna exec``: prepares the sandbox and becomes the program, so that pid, exit status, signals and terminal are its own.

Imported before every program starts; nothing heavy may be.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sys

from fauxdna.abi.identity import vf_bdf
from fauxdna.errors import Busy, DeviceGone, FauxdnaError, OutOfSpace, Unsupported

from . import _sandbox, _wire, sysfs
from ._filter import install_filter
from ._options import Options, parse_functions
from ._program import NOT_EXECUTABLE, NOT_FOUND, CannotRun, examine, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypedDict

    class Node(TypedDict):
        """A function that the program gets, and its attributes in sysfs."""

        bdf: str
        attributes: dict[str, str]


FAILED = 125
"""Exit status where not the program failed but fauxdna, as env(1) and docker(1) have it."""
_DESCRIPTORS_OF_A_DIE = 64
"""26 when it is up, three for each interrupt vector in use, and a few for each open file of the node."""
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MEMLOCK_ENOUGH = 256 << 20
"""Below this locked-memory limit XRT programs are warned: it locks every buffer, and 3 columns' scratch pads alone are 9 MiB."""


def launch(options: Options, find_root: Callable[[str], str] = str) -> NoReturn:
    """Runs the program in place of this process; on failure says why and exits with 125, 126 or 127.

    ``find_root`` gives the directory that ``options.root`` stands for.
    """
    try:
        _become(options, find_root)
    except FauxdnaError as error:
        print(f"fauxdna: {error}", file=sys.stderr)
        status = error.status if isinstance(error, CannotRun) else FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fauxdna: {where}{error.strerror or error}", file=sys.stderr)
        status = FAILED
    sys.stderr.flush()
    # Nothing that this process imported needs an orderly end.
    os._exit(status)


def _become(options: Options, find_root: Callable[[str], str]) -> NoReturn:
    options.check()
    if os.uname().machine != "x86_64":
        raise Unsupported(f"fauxdna exec on {os.uname().machine}", "run it on x86-64 Linux")
    if _sandbox.inside():
        raise Busy(
            "this is inside a fauxdna sandbox already: its NPU is /dev/accel/accel0", "start the program as it is, without exec"
        )
    environment = _environment()
    root = None if options.root is None else find_root(options.root)
    link, nodes = _private(options) if options.die is None else _shared(options)
    tree = sysfs.Tree(options.uapi)
    for node in nodes:
        tree.add(node["bdf"], node["attributes"])
    _sandbox.enter()
    if root is not None:
        _sandbox.change_root(root)
        # What the other system has comes before what lies in this user's home.
        environment["PATH"] = f"{_SYSTEM_PATH}:{environment.get('PATH', '')}".rstrip(":")
    files = _sandbox.furnish(len(nodes), tree)
    path = find(options.program[0], environment.get("PATH", os.defpath))
    glibc = "" if root else _glibc()
    warnings = examine(path, glibc=glibc, library_path=environment.get("LD_LIBRARY_PATH", ""))
    warnings += _memory_lock()
    if not options.quiet:
        for warning in warnings:
            print(f"fauxdna: {warning}", file=sys.stderr)
        sys.stderr.flush()
    listener = install_filter()
    hand_over = {"run": path, "nodes": [node["bdf"] for node in nodes]}
    if options.die is None:
        # Whoever answers is still starting; the program's first ioctl waits for it.
        try:
            _wire.send(link, {"version": _wire.VERSION, **hand_over}, [listener, *files])
        except OSError as error:
            raise DeviceGone("the die did not start", "it said why above, and more with --log FILE") from error
    else:
        _wire.ask(link, hand_over, [listener, *files])
    link.close()
    _execute(path, options.program, environment)


def _private(options: Options) -> tuple[socket.socket, list[Node]]:
    """Starts a die of the program's own, and says what its functions will be."""
    _check_means(options.npus)
    kinds = parse_functions(options.functions)
    dies = [sysfs.free_bus(index) for index in range(options.npus)]
    vfs = max(1, kinds.count(False))
    nodes: list[Node] = []
    for pf in dies:
        numbers = iter(range(vfs))
        for is_pf in kinds:
            bdf = pf if is_pf else vf_bdf(pf, next(numbers))
            nodes.append({"bdf": bdf, "attributes": sysfs.predicted(is_pf, vfs, options.uapi)})
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    settings = {"dies": dies, "vfs": vfs, "pace": options.pace, "uapi": options.uapi, "stderr": _identity(2)}
    log = os.devnull if options.log is None else options.log
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    _spawn([sys.executable, "-P", "-m", "fauxdna.host.private", json.dumps(settings)], theirs.fileno(), output)
    os.close(output)
    theirs.close()
    return ours, nodes


def _check_means(dies: int) -> None:
    """Raises for what a die would miss as soon as it starts: it can't say so to a program that runs already by an exit status."""
    folder = os.path.dirname(os.path.dirname(__file__))
    if not any(name.startswith("_core.") and name.endswith(".so") for name in os.listdir(folder)):
        raise Unsupported(f"fauxdna's compiled part is missing: no _core in {folder}", "install fauxdna again, or ./dev setup")
    least = _DESCRIPTORS_OF_A_DIE * dies
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < least:
        raise OutOfSpace(
            f"{hard} open files are allowed, and {dies} NPU{'s' * (dies > 1)} may need {least}",
            f"raise the limit: ulimit -Hn {max(1024, least)} (as root, or in /etc/security/limits.d)",
            errno=errno.EMFILE,
        )
    try:
        os.close(os.memfd_create("fauxdna-probe", os.MFD_CLOEXEC))
    except OSError as error:
        raise OutOfSpace(
            f"no memory file can be made ({error.strerror})",
            "free memory and descriptors; in a container, allow memfd_create(2)",
            errno=error.errno,
        ) from error


def _identity(descriptor: int) -> list[int]:
    """What a descriptor leads to, so that it is known again; nothing if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return []
    return [status.st_dev, status.st_ino]


def _spawn(command: list[str], link: int, output: int) -> None:
    """Starts ``command`` with ``link`` as descriptor 3 and its messages to ``output``; it is nobody's child."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            raise FauxdnaError("a die of one's own can't be started", "look at the process limit: ulimit -u", errno=errno.EAGAIN)
        return
    status = 1
    try:
        os.setsid()
        if os.fork():
            status = 0
        else:
            null = os.open(os.devnull, os.O_RDWR)
            # Above those that are about to be taken.
            moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (null, output, output, link)]
            for target, descriptor in enumerate(moved):
                os.dup2(descriptor, target)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"fauxdna: {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def _shared(options: Options) -> tuple[socket.socket, list[Node]]:
    """Asks a daemon for functions of its die."""
    assert options.die is not None
    link = _wire.connect(options.die)
    answer = _wire.ask(link, {"open": parse_functions(options.functions), "uapi": options.uapi})
    return link, answer["nodes"]


def _environment() -> dict[str, str]:
    """The environment as it was given to us: Python adds LC_CTYPE to its own in the C locale (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        entries = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}


def _glibc() -> str:
    name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    return name.partition(" ")[2]


def _memory_lock() -> list[str]:
    """Raises the limit of locked memory as far as allowed; a warning if that is little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if hard == resource.RLIM_INFINITY or hard >= _MEMLOCK_ENOUGH or _may_lock():
        return []
    return [
        f"locked memory is limited to {hard >> 10} KiB, and XRT locks all of its buffers: beyond that their mmap fails (EAGAIN); "
        "raise it as root: echo '* - memlock unlimited' > /etc/security/limits.d/npu.conf, and log in again"
    ]


def _may_lock() -> bool:
    """Whether this process has CAP_IPC_LOCK where it counts: in the first user namespace."""
    try:
        with open("/proc/self/uid_map") as file:
            return os.geteuid() == 0 and file.read().split() == ["0", "0", "4294967295"]
    except OSError:
        return False


def _execute(path: str, program: list[str], environment: dict[str, str]) -> NoReturn:
    # Python ignores these; an ignored signal stays so in what is executed.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, program, environment)
    except OSError as error:
        if error.errno == errno.ENOEXEC and _is_text(path):
            # execvp(3): a script without an interpreter is the shell's.
            os.execve("/bin/sh", ["sh", path, *program[1:]], environment)
        if error.errno == errno.ENOENT:
            raise CannotRun(
                f"{path} names an interpreter or loader that is not here",
                "look at its first line, or run it where it was built for: --root DIRECTORY",
                errno=errno.ENOENT,
                status=NOT_FOUND,
            ) from error
        raise CannotRun(
            f"{path} can't be executed: {error.strerror}", "", errno=error.errno or errno.EIO, status=NOT_EXECUTABLE
        ) from error


def _is_text(path: str) -> bool:
    with open(path, "rb") as file:
        return b"\0" not in file.read(256)
