"""The command lines of docs/vfio-user.md, as they stand there: `fauxdna serve`, and a QEMU of one's own."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fauxdna.vm.initramfs import DRIVER, busybox, initramfs
from fauxdna.vm.kernel import Kernel
from fauxdna.vm.qemu import find_qemu

DOCUMENT = Path(__file__).parents[3] / "docs" / "vfio-user.md"


def quiet(_text: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def folder(kernel: Kernel, equipment: dict[str, dict[str, bytes]]) -> Iterator[Path]:
    """What the lines name: vmlinuz, initrd, and the two programs."""
    qemu = find_qemu(quiet)
    words = [f"{name}={value}" for name, value in qemu.environment.items()]
    archive = initramfs(
        busybox(quiet),
        kernel.modules,
        kernel.release,
        [DRIVER],
        boot=[f"load {DRIVER} force_iova=1"],  # insmod does not read the kernel's command line, as modprobe does.
        programs=equipment["programs"],
        more=equipment["files"],
    )
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        folder = Path(name)
        (folder / "vmlinuz").symlink_to(kernel.image)
        (folder / "initrd").write_bytes(archive)
        for program, command in (
            ("qemu-system-x86_64", ["env", *words, *qemu.command, *qemu.options()]),
            ("fauxdna", [sys.executable, "-m", "fauxdna"]),
        ):
            path = folder / program
            path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            path.chmod(0o755)
        yield folder


@pytest.mark.parametrize(
    ("socket", "answers"), [("npu.sock", "a context: Operation not supported, as on a PF"), ("vf.sock", "the same as outside")]
)
def test_the_documents_lines_work(folder: Path, socket: str, answers: str) -> None:
    text = DOCUMENT.read_text()
    lines = re.findall(r"^fauxdna serve .*", text, re.M)
    serve = next(line for line in lines if f"/run/{socket}" in line)
    (qemu,) = re.findall(r"^qemu-system-x86_64 (?:.*\\\n)*.*", text, re.M)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(Path.home())}

    def start(line: str, **streams: int) -> subprocess.Popen[str]:
        line = "exec " + line.replace("/run/npu.sock", f"/run/{socket}").replace("/run/", f"{folder}/")
        return subprocess.Popen(["sh", "-c", line], cwd=folder, env=environment, text=True, **streams)

    with start(serve, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            until(server, str(folder / socket))
            with start(qemu, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guest:
                assert guest.stdin is not None
                until(guest, "built-in shell")  # What is typed before may be taken by the BIOS.
                guest.stdin.write("fauxdna-probe; poweroff -f\n")
                guest.stdin.flush()
                until(guest, answers)
                guest.communicate()
            assert guest.returncode == 0
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()


def until(process: subprocess.Popen[str], text: str) -> None:
    """Reads lines until one has ``text`` in it."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    pytest.fail("".join(seen[-30:]))
