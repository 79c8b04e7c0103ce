"""Measures ``fauxdna exec``: what a sandbox costs a program, and commands through stock XRT, each against native in one run."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..errors import DeviceError, Unsupported
from ..host.doctor import trixie_root
from ._convolution import RUNS, outside, sizes
from ._doorbell import EMPTY_JOB_SIZE, empty_job

COMMANDS: Final = 5_000
STARTS: Final = 15
PROGRAMS: Final = 32
_DIE_ENDS_S: Final = 0.6
_HERE: Final = Path(__file__).parent


def execution(root: str | os.PathLike[str] | None = None) -> dict[str, float | None]:
    """Figures of ``fauxdna exec``.

    Args:
        root: A system with XRT and g++, such as ``./dev root`` makes; None looks for that one. Without it XRT is left out.

    Returns:
        ``noop_ioctl_p50_us`` and ``_p99_us`` (GET_CAP), ``getpid_extra_ns`` and ``ioctl_extra_ns`` (one that is not DRM's)
        over native, ``pread_ratio`` (64 KiB, to native), ``threads_ratio`` (calls of 16 threads in sum to those of one),
        ``setup_ms`` (added to the start of /bin/true), and with XRT ``xrt_null_p50_us`` (start, then ``run.state()``),
        ``xrt_wait_p50_us`` (start, then ``run.wait()``), ``xrt_model_ms`` and ``xrt_model_ratio`` (a convolution, to our own
        runtime's time for it in this process), ``programs_ok`` of 32 at once on one die, ``daemon_mib`` at its peak.

    Raises:
        Unsupported: no C compiler on this machine.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unsupported("the benchmark's C program can't be compiled: no cc", "install one: apt install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as folder:
        calls = f"{folder}/exec_calls"
        _run([compiler, "-O2", "-pthread", str(_HERE / "exec_calls.c"), "-o", calls])
        native = json.loads(_run([calls]))
        inside = json.loads(_run([*_fauxdna("exec", "--quiet", "--"), calls, "/dev/accel/accel0"]))
        figures: dict[str, float | None] = {
            "noop_ioctl_p50_us": inside["noop_p50_ns"] / 1000,
            "noop_ioctl_p99_us": inside["noop_p99_ns"] / 1000,
            "getpid_extra_ns": inside["getpid_ns"] - native["getpid_ns"],
            "ioctl_extra_ns": inside["ioctl_ns"] - native["ioctl_ns"],
            "pread_ratio": inside["pread_ns"] / native["pread_ns"],
            "threads_ratio": inside["one_thread_ns"] / inside["sixteen_threads_ns"],
            "setup_ms": _setup_ms(),
        }
        figures |= _xrt(Path(folder), _root(root))
    return figures


def _setup_ms() -> float:
    """Start and end of /bin/true, by turns; medians."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(STARTS):
        for sandboxed in (False, True):
            command = [*_fauxdna("exec", "--quiet", "--"), "/bin/true"] if sandboxed else ["/bin/true"]
            begin = time.perf_counter()
            _run(command)
            times[sandboxed].append(time.perf_counter() - begin)
            if sandboxed:
                # The die of a program that ends at once is still starting, on a processor that the next start would want.
                time.sleep(_DIE_ENDS_S)
    return (statistics.median(times[True]) - statistics.median(times[False])) * 1000


def _xrt(folder: Path, root: Path | None) -> dict[str, float | None]:
    names = ("xrt_null_p50_us", "xrt_wait_p50_us", "xrt_model_ms", "xrt_model_ratio", "programs_ok", "daemon_mib")
    if root is None:
        return dict.fromkeys(names)
    from ..artifact.elf_writer import Page, write

    page = empty_job()
    (folder / "null.elf").write_bytes(
        write({0: [Page(page[:EMPTY_JOB_SIZE], page[EMPTY_JOB_SIZE:])]}, [], b"", arguments=1, columns=1)
    )
    sandbox = ("exec", "--quiet", "--root", str(root))
    compile_it = ["g++", "-std=c++17", "-O2", str(_HERE / "exec_xrt.cpp"), "-o", f"{folder}/exec_xrt", "-lxrt_coreutil"]
    _run([*_fauxdna(*sandbox, "--"), *compile_it])
    # XRT takes no kernel without arguments; this one does not look at its own.
    alone = json.loads(_run([*_fauxdna(*sandbox, "--"), f"{folder}/exec_xrt", f"{folder}/null.elf", str(COMMANDS), "4096"]))
    step, outside_ms = outside()
    (folder / "model.elf").write_bytes(step.elf)
    model = [f"{folder}/exec_xrt", f"{folder}/model.elf", str(RUNS), *map(str, sizes(step))]
    model_ms = json.loads(_run([*_fauxdna(*sandbox, "--"), *model]))["waited_p50_ns"] / 1e6
    with _daemon(f"{folder}/die.sock") as pid:
        command = [
            *_fauxdna(*sandbox, "--die", f"{folder}/die.sock", "--"),
            f"{folder}/exec_xrt",
            f"{folder}/null.elf",
            "20",
            "4096",
        ]
        many = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(PROGRAMS)]
        ok = sum(process.wait() == 0 for process in many)
        status = Path(f"/proc/{pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    null = (alone["polled_p50_ns"] / 1000, alone["waited_p50_ns"] / 1000)
    return dict(zip(names, (*null, model_ms, model_ms / outside_ms, ok, peak / 1024), strict=True))


@contextmanager
def _daemon(path: str) -> Iterator[int]:
    with subprocess.Popen(_fauxdna("serve", "--socket", path), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            process.terminate()


def _root(root: str | os.PathLike[str] | None) -> Path | None:
    found = Path(root or trixie_root())
    return found if (found / "usr/include/xrt/xrt_device.h").exists() and (found / "usr/bin/g++").exists() else None


def _fauxdna(*arguments: str) -> list[str]:
    """The command as users start it: by its script, or by this Python where there is none."""
    script = Path(sys.executable).with_name("fauxdna")
    return [*([str(script)] if script.exists() else [sys.executable, "-m", "fauxdna"]), *arguments]


def _run(command: Sequence[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise DeviceError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()}", "look at what it says")
    return str(done.stdout)
