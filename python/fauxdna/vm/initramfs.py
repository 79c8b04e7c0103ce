"""The guest's initial root: busybox, the driver's modules, signed firmware, and what a boot is to do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from fauxdna.abi import pci
from fauxdna.cache import cache_folder, made_once
from fauxdna.firmware import build_images

from .cpio import Cpio
from .modules import ModuleTree
from .packages import WAITING, Packages, Progress, damaged

DRIVER: Final = "amdxdna"
SHARE_MODULES: Final = ("9pnet_virtio", "9p")
ROOT_MODULES: Final = (*SHARE_MODULES, "overlay")
FIRMWARE_FOLDER: Final = f"/lib/firmware/amdnpu/{pci.DEVICE_PF:04x}_{pci.REVISION:x}"
"""Where Linux 7.2 ``aie4_pci.c`` asks for ``npu.dev.sbin`` and ``cert.dev.sbin``."""
MODPROBE_FILE: Final = "/etc/modprobe.d/amdxdna.conf"
MODULE_FOLDER: Final = "/lib/modules"


def busybox(progress: Progress) -> Path:
    """Debian's static busybox, fetched once."""

    def fetch(part: Path) -> None:
        packages = Packages(progress)
        packages.update()
        packages.install(("busybox-static",), part, dependencies=False, members=("./usr/bin/busybox",))

    return made_once(cache_folder() / "vm" / "busybox", fetch, lambda: progress(WAITING)) / "usr" / "bin" / "busybox"


@cache
def _applets(program: Path) -> tuple[str, ...]:
    """The names that busybox answers to, but for those that would hide a package manager's."""
    try:
        names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise damaged(program.parents[2], f"busybox does not run: {error}") from error
    return tuple(name for name in names if name not in ("busybox", "dpkg", "dpkg-deb", "rpm"))


def initramfs(
    program: Path,
    modules: ModuleTree,
    release: str,
    wanted: Iterable[str],
    *,
    boot: Iterable[str],
    firmware: Mapping[str, bytes] | None = None,
    programs: Mapping[str, bytes] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """The archive for QEMU's ``-initrd``.

    Args:
        program: A static busybox.
        modules: Where the kernel's modules are.
        release: The kernel's release, as ``uname -r`` says it.
        wanted: Modules to take along, with what they need, and to load before ``boot``, except the driver, which ``boot`` loads.
        boot: Lines of ``/fauxdna/boot``: calls of the functions in ``guest/init``.
        firmware: Images by file name; the package's own by default.
        programs: Executables by name, for ``/usr/bin``.
        more: Other files by absolute path.
    """
    archive = Cpio()
    archive.device("/dev/console", 5, 1)
    for folder in ("/proc", "/sys", "/run", "/tmp", "/root", "/mnt", "/etc", "/usr/bin", "/sbin"):
        archive.folder(folder)
    archive.file("/bin/busybox", program.read_bytes(), mode=0o755)
    for name in _applets(program):
        archive.link(f"/bin/{name}", "busybox")
    archive.file("/init", (files(__package__) / "guest" / "init").read_bytes(), mode=0o755)
    for name, content in (build_images() if firmware is None else firmware).items():
        archive.file(f"{FIRMWARE_FOLDER}/{name}", content)
    for name, content in (programs or {}).items():
        archive.file(f"/fauxdna/bin/{name}", content, mode=0o755)
        archive.link(f"/usr/bin/{name}", f"/fauxdna/bin/{name}")
    for path, content in (more or {}).items():
        archive.file(path, content)
    found = modules.closure(wanted)
    folder = f"{MODULE_FOLDER}/{release}"
    archive.folder(folder)
    archive.link(f"{MODULE_FOLDER}/fauxdna", release)
    for name, (content, _) in found.items():
        archive.file(f"{folder}/{name}.ko", content)
    # For modprobe: every module with all that it needs, the nearest first.
    needed = "".join(f"{name}.ko: {' '.join(f'{other}.ko' for other in _needs(name, found))}\n" for name in found)
    archive.file(f"{folder}/modules.dep", needed.encode())
    early = [f"load {name}" for name in found if name != DRIVER]
    archive.file("/fauxdna/boot", "".join(f"{line}\n" for line in (*early, *boot)).encode())
    return archive.pack()


def _needs(name: str, found: Mapping[str, tuple[bytes, tuple[str, ...]]]) -> list[str]:
    order = list(found)
    pending, needed = [name], set[str]()
    while pending:
        for other in found[pending.pop()][1]:
            if other not in needed:
                needed.add(other)
                pending.append(other)
    return sorted(needed, key=order.index, reverse=True)
