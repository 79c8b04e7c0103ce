"""Kernels to boot: Debian's Linux 7.2, or one's own image and modules."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from fauxdna.cache import cache_folder, made_once
from fauxdna.errors import InvalidInput, NotFound

from .modules import ModuleTree, decompress_zstd
from .packages import WAITING, Packages, Progress, damaged

STOCK: Final = "stock"
STOCK_SERIES: Final = (7, 2)
"""The first Linux whose amdxdna knows AIE4."""
VMLINUX: Final = "vmlinux"
_BZIMAGE_MAGIC: Final = (0x202, b"HdrS")
"""Linux 7.2 ``Documentation/arch/x86/boot.rst``: ``header``."""
_SETUP_SECTORS: Final = 0x1F1
_KERNEL_VERSION: Final = 0x20E
_PAYLOAD_OFFSET: Final = 0x248
_PAYLOAD_LENGTH: Final = 0x24C
_SECTOR: Final = 512
_PVH_NOTE: Final = 18
"""``XEN_ELFNOTE_PHYS32_ENTRY``: with it QEMU starts an uncompressed kernel directly."""


@dataclass(frozen=True)
class Kernel:
    """A kernel image for QEMU's ``-kernel`` and the modules that belong to it."""

    image: Path
    release: str
    modules: ModuleTree


def stock_kernel(progress: Progress) -> Kernel:
    """Debian's newest Linux 7.2 (or, when the archive has left that behind, the oldest after it), fetched once."""
    folder = cache_folder() / "vm" / "linux"
    made_once(folder, lambda part: _fetch(part, progress), lambda: progress(WAITING))
    release = next(folder.glob("usr/lib/modules/*"), None)
    image = next((path for name in (VMLINUX, "vmlinuz") if release and (path := release / name).exists()), None)
    if release is None or image is None:
        raise damaged(folder, "it has no kernel")
    return Kernel(image, release.name, ModuleTree(release, damaged=lambda problem: damaged(folder, problem)))


def own_kernel(image: Path, modules: Path | None, folder: Path) -> Kernel:
    """A bzImage or vmlinux. ``folder`` takes the uncompressed kernel, which boots faster, if the image allows it."""
    data = image.read_bytes()
    tree = ModuleTree(modules)
    release = tree.release()
    if data.startswith(b"\x7fELF"):
        if not _starts_directly(data):
            raise InvalidInput(
                f"{image} has no PVH entry point, so QEMU can't start it", "give the bzImage, or build with CONFIG_PVH=y"
            )
        return Kernel(image, release, tree)
    named = bzimage_release(data, image)
    if release and release != named:
        raise InvalidInput(
            f"{image} is Linux {named}, the modules under {modules} are for {release}", "give modules of one build"
        )
    unpacked = uncompressed(data, image)
    if unpacked is None:
        return Kernel(image, named, tree)
    (folder / VMLINUX).write_bytes(unpacked)
    return Kernel(folder / VMLINUX, named, tree)


def bzimage_release(data: bytes, path: Path) -> str:
    """The release that a bzImage's header names (``7.2.12+deb13-amd64``)."""
    at, magic = _BZIMAGE_MAGIC
    if data[at : at + len(magic)] != magic:
        raise InvalidInput(f"{path} is neither a bzImage nor an ELF", "give arch/x86/boot/bzImage or vmlinux of an x86-64 build")
    start = int.from_bytes(data[_KERNEL_VERSION : _KERNEL_VERSION + 2], "little") + _SECTOR
    text = data[start : start + 256].partition(b"\0")[0].decode(errors="replace")
    return text.split(" ")[0]


def uncompressed(data: bytes, path: Path) -> bytes | None:
    """The vmlinux inside a bzImage; None if its compression is unknown here or QEMU couldn't start it."""
    start = (data[_SETUP_SECTORS] + 1) * _SECTOR + int.from_bytes(data[_PAYLOAD_OFFSET : _PAYLOAD_OFFSET + 4], "little")
    payload = data[start : start + int.from_bytes(data[_PAYLOAD_LENGTH : _PAYLOAD_LENGTH + 4], "little")]
    try:
        kernel = _decompress(payload, path)
    except (NotFound, InvalidInput, OSError, EOFError, ValueError, lzma.LZMAError):
        return None
    return kernel if kernel is not None and _starts_directly(kernel) else None


def _decompress(payload: bytes, path: Path) -> bytes | None:
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return decompress_zstd(payload, path)
    if payload.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=io.BytesIO(payload[:-4])).read()
    if payload.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return lzma.LZMADecompressor().decompress(payload)
    return bz2.BZ2Decompressor().decompress(payload) if payload.startswith(b"BZh") else None


def _starts_directly(kernel: bytes) -> bool:
    try:
        segments = [part for part in ELFFile(io.BytesIO(kernel)).iter_segments() if isinstance(part, NoteSegment)]
        return any(
            note["n_name"] == "Xen" and int(note["n_type"]) == _PVH_NOTE for part in segments for note in part.iter_notes()
        )
    except (ELFError, ValueError):
        return False


def _fetch(part: Path, progress: Progress) -> None:
    packages = Packages(progress)
    packages.update()
    series = r"\.".join(map(str, STOCK_SERIES))
    found = packages.newest(rf"^linux-binary-{series}\.[0-9]+\+deb13-amd64$")
    if not found:
        later = packages.newest(r"^linux-binary-[0-9]+\.[0-9]+\.[0-9]+\+deb13-amd64$")
        found = [name for name in later if tuple(map(int, name.split("-")[2].split(".")[:2])) > STOCK_SERIES][-1:]
    if not found:
        raise NotFound("Debian's archive has no kernel from 7.2 on", "give one with --kernel IMAGE --modules FOLDER")
    release = found[0].removeprefix("linux-binary-")
    names = [f"linux-{kind}-{release}" for kind in ("binary", "modules", "base")]
    packages.install(names, part, dependencies=False, members=("./usr/lib/modules/*",))
    home = part / "usr" / "lib" / "modules" / release
    kernel = uncompressed((home / "vmlinuz").read_bytes(), home / "vmlinuz")
    if kernel is not None:
        (home / VMLINUX).write_bytes(kernel)
