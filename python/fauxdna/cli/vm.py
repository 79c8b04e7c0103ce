"""``fauxdna vm``: a Linux guest whose stock amdxdna driver finds a virtual NPU."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._complete import faults, words
from ._output import JsonOption, Output

if TYPE_CHECKING:
    from ..vm import Machine, Settings, Share

_TIMED_OUT = 124
"""Exit status of timeout(1) for a command that its time limit ended."""
_GUESTS_OWN = ("dev", "fauxdna", "proc", "run", "sys")
_EXAMPLE = """
Examples: fauxdna vm; fauxdna vm -- dmesg; fauxdna vm --kernel arch/x86/boot/bzImage --modules . --vfs 4 -- ls /dev/accel

Without a command there is a shell on the guest's console; Ctrl-A x leaves it. With one, its output and its exit status are passed
on. The guest is Debian's Linux 7.2 with busybox, fetched once and kept in ~/.cache/fauxdna.
"""


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog=_EXAMPLE, context_settings={"allow_interspersed_args": False})(vm)


def vm(
    command: Annotated[
        list[str] | None, typer.Argument(help="A program in the guest and its arguments.", metavar="[--] CMD")
    ] = None,
    kernel: Annotated[
        str, typer.Option(help="'stock' (Debian's Linux 7.2), or a bzImage or vmlinux.", autocompletion=words("stock"))
    ] = "stock",
    modules: Annotated[Path | None, typer.Option(help="The kernel's modules: a build tree, or lib/modules/VERSION.")] = None,
    vfs: Annotated[int, typer.Option(help="Virtual functions, 0 to 64; up to 16 with --no-pf.")] = 2,
    pf: Annotated[
        bool, typer.Option("--pf/--no-pf", help="Give the guest the PF too, or VFs only, as a hypervisor does.")
    ] = True,
    memory: Annotated[str, typer.Option(help="The guest's memory: MiB, or a number with M or G.", metavar="SIZE")] = "1024M",
    cpus: Annotated[int, typer.Option(help="The guest's processors.")] = 1,
    iommu: Annotated[
        str,
        typer.Option(
            help="Where device addresses come from.", metavar="<intel|carveout>", autocompletion=words("intel", "carveout")
        ),
    ] = "intel",
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Show XRT's write_index where Linux 7.2 looks for it (on by default).")
    ] = True,
    accel: Annotated[
        str, typer.Option(help="How QEMU runs the guest.", metavar="<auto|kvm|tcg>", autocompletion=words("auto", "kvm", "tcg"))
    ] = "auto",
    share: Annotated[
        list[str] | None, typer.Option(help="FOLDER[:GUESTFOLDER][:ro], shared by 9p; once for each.", metavar="SHARE")
    ] = None,
    qemu_args: Annotated[str, typer.Option(help="More arguments for QEMU.")] = "",
    append: Annotated[str, typer.Option(help="More of the kernel's command line.")] = "",
    root: Annotated[
        str | None,
        typer.Option(
            help="'trixie' (Debian with XRT 2.25 and fauxdna), or a folder with a user space.", autocompletion=words("trixie")
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes wrong in the device, as docs/faults.md has it; once for each.",
            metavar="FAULT",
            autocompletion=faults,
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Run the built-in checks of the driver, and write a JUnit report.", dir_okay=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="With --junit: a tenth of the repetitions.")] = False,
    dmesg: Annotated[bool, typer.Option("--dmesg", help="Print the kernel's whole log to standard error afterwards.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Print the log of device and firmware to standard error afterwards.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that the boot, and then the command, may take.")] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Boot a Linux guest with an NPU, for a shell or for one command."""
    from ..demo.small import small_model
    from ..errors import InvalidArgument
    from ..serve import Fault
    from ..vm import GuestTimeout, Settings
    from ..vm.programs import MODEL_FOLDER, PROBE, probe
    from ..vm.root import guest_root, own_package

    # So that what "finally" does is done then too, also when the terminal has gone.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    output = Output(as_json)
    if junit and (command or root or fault):
        raise InvalidArgument(
            "--junit runs the built-in checks, in guests and with faults of its own", "leave the command, --root and --fault away"
        )
    if not 0 < timeout < math.inf:
        raise InvalidArgument(f"--timeout {timeout:g} is no time", "give seconds")
    if junit:
        _writable(junit)
    wrong = [Fault.parse(text) for text in fault or []]
    shares, programs = [_share(text) for text in share or []], {PROBE: probe()}
    if root:
        package, scripts = own_package()
        shares, programs = [package, *shares], {**scripts, **programs}
    settings = Settings(
        kernel=None if kernel == "stock" else Path(kernel),
        modules=modules,
        vfs=vfs,
        pf=pf,
        mirror=mirror,
        faults=wrong,
        memory=_mebibytes(memory),
        cpus=cpus,
        iommu=_iommu(iommu),
        accelerator=_accelerator(accel),
        shares=shares,
        root=guest_root(root, _tell) if root else None,
        qemu_arguments=_words(qemu_args, "--qemu-args"),
        kernel_arguments=_words(append, "--append"),
        console=not command and not junit,
        verbose=dmesg,
        programs=programs,
        files={f"{MODEL_FOLDER}/{name}": content for name, content in small_model().files().items()},
        boot_seconds=timeout,
    )
    if junit:
        raise typer.Exit(_checks(output, settings, junit, quick))
    if not command:
        _console(output, settings)
        return
    try:
        status = _commanded(output, settings, command, timeout, dmesg=dmesg, log=log)
    except GuestTimeout as late:
        typer.echo(f"fauxdna: {late}", err=True)
        status = _TIMED_OUT
    raise typer.Exit(status)


def _commanded(output: Output, settings: Settings, command: list[str], timeout: float, *, dmesg: bool, log: bool) -> int:
    """Runs a command in a guest of its own; its exit status."""
    from ..vm import Machine

    with output.progress() as step:
        machine = Machine(settings, progress=step)
        begun = time.monotonic()
        boot = machine.boot()
    try:
        for problem in boot.problems:
            typer.echo(f"fauxdna: guest: {problem}", err=True)
        booted = time.monotonic()
        status, document = _run(machine, command, timeout, output.as_json)
        ran = time.monotonic()
        if dmesg:
            typer.echo(machine.dmesg(), err=True)
        phases = {name: round(host, 3) for name, (host, _uptime) in boot.phases.items()}
        times = {"boot_s": round(booted - begun, 3), "command_s": round(ran - booted, 3), "phases_s": phases}
        output.document({"command": command, **document, "accelerator": machine.accelerator.value, **times})
        return status
    finally:
        for entry in machine.devices.die.log.entries() if log else ():
            typer.echo(str(entry), err=True)
        machine.close()


def _run(machine: Machine, command: list[str], timeout: float, as_json: bool) -> tuple[int, dict[str, Any]]:
    stdin = _input()
    if as_json:
        done = machine.run(command, timeout=timeout, stdin=stdin)
        return done.status, {"status": done.status, "stdout": done.stdout, "stderr": done.stderr}
    done = machine.run(command, timeout=timeout, stdout=_to(sys.stdout), stderr=_to(sys.stderr), stdin=stdin)
    return done.status, {}


def _input() -> int | None:
    """Where a command's input comes from: not from a terminal, which is the shell's, nor from a descriptor that is closed."""
    return None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.fileno()


def _checks(output: Output, settings: Settings, file: Path, quick: bool) -> int:
    from ..vm.checks import run_checks

    with output.progress() as step:
        report = run_checks(settings, step, quick=quick)
    report.write(file)
    rows = [(case.name, f"{case.seconds:.1f} s", case.failure.split("\n")[0] or "ok") for case in report.cases]
    output.table(f"amdxdna on {report.kernel}", ("check", "time", "result"), rows)
    output.document(
        {
            "kernel": report.kernel,
            "report": file,
            "failures": len(report.failures),
            "checks": [
                {"name": case.name, "seconds": round(case.seconds, 3), "failure": case.failure, "figures": case.figures}
                for case in report.cases
            ],
        }
    )
    return 1 if report.failures else 0


def _to(stream: Any) -> Any:
    def write(data: bytes) -> None:
        stream.buffer.write(data)
        stream.buffer.flush()

    return write


def _console(output: Output, settings: Settings) -> None:
    from ..errors import InvalidArgument
    from ..vm import Machine

    if not sys.stdin.isatty():
        raise InvalidArgument("a console needs a terminal", "give a command instead: fauxdna vm -- CMD")
    output.text("Ctrl-A x ends the guest, Ctrl-A c shows QEMU's monitor")
    machine = Machine(settings, progress=_tell)
    try:
        machine.boot()
    finally:
        machine.close()


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _mebibytes(text: str) -> int:
    from ..errors import InvalidArgument

    found = re.fullmatch(r"(\d{1,9})([MG]?)", text.upper())
    if not found:
        raise InvalidArgument(f"--memory {text} is no size", "write 512M, 4G, or a number of MiB")
    return int(found[1]) << (10 if found[2] == "G" else 0)


def _words(text: str, option: str) -> list[str]:
    from ..errors import InvalidArgument

    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"{option} {text}: {error}", "quote it as for a shell") from None


def _writable(file: Path) -> None:
    """Says before minutes of checks that their report could not be written."""
    from ..errors import InvalidArgument

    if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidArgument(f"{file} can't be written", "name a file in a folder of yours")


def _share(text: str) -> Share:
    from ..errors import InvalidArgument
    from ..vm import Share

    parts = text.split(":")
    read_only = len(parts) > 1 and parts[-1] == "ro"
    parts = parts[:-1] if read_only else parts
    folder = Path(parts[0]).resolve()
    place = parts[1] if len(parts) == 2 else f"/mnt/{folder.name}"
    own = len(PurePosixPath(place).parts) < 2 or PurePosixPath(place).parts[1] in _GUESTS_OWN
    if not parts[0] or len(parts) > 2 or not place.startswith("/") or "\n" in place or ".." in place.split("/"):
        raise InvalidArgument(f"'{text}' is no share", "write FOLDER, FOLDER:/PLACE or FOLDER:/PLACE:ro")
    if own:
        raise InvalidArgument(f"{place} is the guest's own", f"share it as {text.partition(':')[0]}:/mnt/NAME")
    return Share(folder, place, read_only)


def _iommu(text: str) -> Any:
    from ..vm import Iommu

    return _one_of(Iommu, text, "--iommu")


def _accelerator(text: str) -> Any:
    from ..vm import Accelerator

    return _one_of(Accelerator, text, "--accel")


def _one_of(kind: Any, text: str, option: str) -> Any:
    from ..errors import InvalidArgument

    try:
        return kind(text)
    except ValueError:
        names = ", ".join(kind)
        raise InvalidArgument(f"{option} {text} is none of {names}", "choose one of them") from None
