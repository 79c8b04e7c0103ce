"""What can be said of a program before it starts: where it is, whether this system can run it, whether XRT is there."""

from __future__ import annotations

import errno
import os
import struct

from fauxdna.errors import FauxdnaError

NOT_EXECUTABLE = 126
"""Exit status of env(1), sh(1), docker(1): found, but can't be run."""
NOT_FOUND = 127

_EM_X86_64 = 62
_MACHINES = {3: "i386", 40: "arm", 183: "aarch64", 243: "riscv", 21: "ppc64", 22: "s390", 258: "loongarch"}
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
"""``<elf.h>``."""
_LARGEST = 1 << 30
_LIBRARY_DIRECTORIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_XRT_PLUGIN = "libxrt_driver_xdna.so.2"
"""What libxrt_core loads to find NPUs (Debian's libxrt-npu2)."""


class CannotRun(FauxdnaError):
    """The program can't be started; ``status`` is the exit status for that."""

    def __init__(self, problem: str, remedy: str, *, errno: int, status: int = NOT_EXECUTABLE) -> None:
        super().__init__(problem, remedy, errno=errno)
        self.status = status


def find(name: str, search: str) -> str:
    """The path of the program ``name``, looked for in ``search`` (PATH) when it has no slash, as execvp(3) does."""
    candidates = [name] if "/" in name else [os.path.join(folder or ".", name) for folder in search.split(":")]
    denied = ""
    for path in candidates:
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            denied = denied or path
        elif os.path.isdir(path) and "/" in name:
            raise CannotRun(f"{path} is a directory", "name a program", errno=errno.EISDIR)
    if denied:
        raise CannotRun(f"{denied} may not be executed", f"allow it: chmod +x {denied}", errno=errno.EACCES)
    remedy = "install it, or give its path"
    if name.startswith(("xrt-", "aiebu-")):
        remedy = (
            "XRT's tools are Debian's libxrt-utils and libxrt-utils-npu (trixie-backports); "
            "Debian 13 with them is fetched by --root trixie, another system is named by --root DIRECTORY"
        )
    raise CannotRun(f"there is no program {name}", remedy, errno=errno.ENOENT, status=NOT_FOUND)


def examine(path: str, *, glibc: str, library_path: str) -> list[str]:
    """Warnings about a program.

    Args:
        path: The program.
        glibc: Version of this system's C library, such as ``"2.36"``; "" if unknown.
        library_path: The program's LD_LIBRARY_PATH.

    Raises:
        CannotRun: it is for another machine, or needs a newer C library, or XRT that is not here.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 64:
            return []
        machine = struct.unpack_from("<H", head, 18)[0]
        if head[4:6] != b"\x02\x01" or machine != _EM_X86_64:
            name = _MACHINES.get(machine, f"machine {machine}")
            raise CannotRun(
                f"{path} is a program for {name}; fauxdna exec runs x86-64 programs",
                "build it for x86-64",
                errno=errno.ENOEXEC,
            )
        try:
            needed, versions, own_path = _dynamic(file, head)
        except (struct.error, ValueError, OverflowError):
            # Not for us to judge: the kernel and the loader will.
            return []
    newest = max((version for version in map(_version, versions) if version), default=())
    if glibc and newest > _version("GLIBC_" + glibc):
        raise CannotRun(
            f"{path} needs glibc {'.'.join(map(str, newest))}, and this system has {glibc}",
            "run it in a newer system: --root trixie (Debian 13 with XRT, which is fetched), or --root DIRECTORY",
            errno=errno.ENOEXEC,
        )
    folders = [*filter(None, library_path.split(":")), *own_path.replace("$ORIGIN", os.path.dirname(path)).split(":")]
    return _xrt(path, needed, [*folders, *_LIBRARY_DIRECTORIES])


def _xrt(path: str, needed: list[str], folders: list[str]) -> list[str]:
    wanted = [name for name in needed if name.startswith("libxrt")]
    if not wanted:
        return []
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            cache = file.read()
    except OSError:
        cache = b""

    def there(name: str) -> bool:
        return name.encode() + b"\0" in cache or any(os.path.exists(f"{folder}/{name}") for folder in folders if folder)

    for name in wanted:
        if not there(name):
            raise CannotRun(
                f"{path} needs XRT's {name}, which is not here",
                "apt install libxrt2 libxrt-npu2 (trixie-backports), or run it in Debian 13, which is fetched: --root trixie",
                errno=errno.ENOENT,
                status=NOT_FOUND,
            )
    if not there(_XRT_PLUGIN):
        return [f"XRT is here without {_XRT_PLUGIN}, so it will find no NPU; install it: apt install libxrt-npu2"]
    return []


def _dynamic(file: object, head: bytes) -> tuple[list[str], list[str], str]:
    """Libraries an ELF needs, versions of symbols it needs, and its RUNPATH."""
    import io

    assert isinstance(file, io.BufferedReader)

    def at(offset: int, length: int) -> bytes:
        if not 0 <= length <= _LARGEST:
            raise ValueError("no such range")
        file.seek(offset)
        return file.read(length)

    table, _, _, _, size, count = struct.unpack_from("<QQIHHH", head, 32)
    loads: list[tuple[int, int, int]] = []
    dynamic = b""
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", at(table + index * size, 56))
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            dynamic = at(offset, length)

    def place(address: int) -> int:
        for start, offset, length in loads:
            if start <= address < start + length:
                return address - start + offset
        raise ValueError("an address outside the file")

    def text(offset: int) -> str:
        return at(strings + offset, 4096).partition(b"\0")[0].decode("latin-1")

    entries = [struct.unpack_from("<QQ", dynamic, at_) for at_ in range(0, len(dynamic) - 15, 16)]
    values = dict(reversed(entries))
    if _DT_STRTAB not in values:
        return [], [], ""
    strings = place(values[_DT_STRTAB])
    needed = [text(value) for tag, value in entries if tag == _DT_NEEDED]
    versions = []
    record = place(values[_DT_VERNEED]) if _DT_VERNEED in values else 0
    for _ in range(min(values.get(_DT_VERNEEDNUM, 0), 1000)):
        _, count, _, auxiliary, following = struct.unpack("<HHIII", at(record, 16))
        at_auxiliary = record + auxiliary
        for _ in range(count):
            _, _, _, name, next_auxiliary = struct.unpack("<IHHII", at(at_auxiliary, 16))
            versions.append(text(name))
            at_auxiliary += next_auxiliary
        record += following
    own_path = "".join(text(values[tag]) for tag in (_DT_RUNPATH, _DT_RPATH) if tag in values)
    return needed, versions, own_path


def _version(name: str) -> tuple[int, ...]:
    prefix, _, number = name.partition("_")
    parts = number.split(".")
    return tuple(map(int, parts)) if prefix == "GLIBC" and all(part.isdecimal() for part in parts) else ()
