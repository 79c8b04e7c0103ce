"""Kernel modules: which ones a driver needs, and in what order they load.

Dependencies come from the modules themselves (``depends=`` in their ``.modinfo``), so that a build tree does as well as an
installed one.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from fauxdna.errors import InvalidInput, NotFound

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


class ModuleTree:
    """Modules under a folder: ``/lib/modules/VERSION``, what ``make INSTALL_MOD_PATH=`` wrote, or a build tree.

    Args:
        folder: None if there are no modules.
        damaged: What a module that is missing or no module is to be called, where it is not the user's.
    """

    def __init__(self, folder: Path | None, damaged: Callable[[str], Exception] | None = None) -> None:
        self.folder = folder
        self._damaged = damaged
        self._paths: dict[str, Path] = {}
        self._builtin: set[str] = set()
        if folder is not None:
            self._scan(folder)

    def __contains__(self, name: str) -> bool:
        return _plain(name) in self._paths

    def built_in(self, name: str) -> bool:
        """Whether ``modules.builtin`` names it."""
        return _plain(name) in self._builtin

    def available(self, name: str) -> bool:
        """Whether the kernel has it, as a module or built in."""
        return name in self or self.built_in(name)

    def closure(self, names: Iterable[str]) -> dict[str, tuple[bytes, tuple[str, ...]]]:
        """Modules to load, in order, as {name: (file content, names that it depends on)}; those built in are left out.

        Raises:
            NotFound: one is neither there nor built in.
        """
        found: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        try:
            for name in names:
                self._visit(_plain(name), found, ())
        except (InvalidInput, NotFound) as error:
            raise error if self._damaged is None else self._damaged(error.problem) from error
        return found

    def release(self) -> str:
        """The kernel release that the modules are for, from the first one's ``vermagic``; "" if there are none."""
        for path in self._paths.values():
            return _modinfo(read_module(path), path).get("vermagic", "").split(" ")[0]
        return ""

    def _visit(self, name: str, found: dict[str, tuple[bytes, tuple[str, ...]]], seen: tuple[str, ...]) -> None:
        if name in found or name in self._builtin:
            return
        path = self._paths.get(name)
        if path is None:
            needed = f", which {seen[-1]} needs," if seen else ""
            place = f"not under {self.folder} and not built in" if self.folder else "needed, and no modules were given"
            raise NotFound(
                f"kernel module {name}{needed} is {place}",
                "build it (CONFIG_DRM_ACCEL_AMDXDNA and what it selects), and give the folder with --modules",
            )
        if name in seen:
            raise InvalidInput(f"kernel modules {', '.join(seen)} depend on each other in a circle", "build them again")
        content = read_module(path)
        depends = tuple(_plain(other) for other in _modinfo(content, path).get("depends", "").split(",") if other)
        for other in depends:
            self._visit(other, found, (*seen, name))
        found[name] = (content, tuple(other for other in depends if other not in self._builtin))

    def _scan(self, folder: Path) -> None:
        for place, _folders, files in os.walk(folder):
            for file in files:
                if file.endswith(_SUFFIXES):
                    self._paths.setdefault(_plain(file.split(".ko")[0]), Path(place) / file)
                elif file == "modules.builtin":
                    lines = (Path(place) / file).read_text().split()
                    self._builtin.update(_plain(Path(line).name.split(".ko")[0]) for line in lines)


def read_module(path: Path) -> bytes:
    """A module's bytes, uncompressed."""
    raw = path.read_bytes()
    try:
        if path.suffix == ".xz":
            return lzma.decompress(raw)
        if path.suffix == ".gz":
            return gzip.decompress(raw)
    except (lzma.LZMAError, OSError, EOFError) as error:
        raise InvalidInput(f"{path} can't be decompressed: {error}", "build it again") from error
    return decompress_zstd(raw, path) if path.suffix == ".zst" else raw


def decompress_zstd(raw: bytes, path: Path) -> bytes:
    """Decompresses with the ``zstd`` program, the only one of these formats that Python lacks."""
    program = shutil.which("zstd")
    if program is None:
        raise NotFound(f"{path} is compressed with zstd, and this machine has no zstd program", "install zstd")
    result = subprocess.run([program, "-dcq"], input=raw, capture_output=True, check=False)
    # A kernel image's payload carries its uncompressed size behind the last frame: zstd writes all and then complains.
    if result.returncode and not result.stdout:
        raise InvalidInput(f"{path} can't be decompressed: {result.stderr.decode().strip()}", "build it again")
    return result.stdout


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _modinfo(content: bytes, path: Path) -> dict[str, str]:
    try:
        section = ELFFile(io.BytesIO(content)).get_section_by_name(".modinfo")
        data: bytes = section.data() if section is not None else b""
    except ELFError as error:
        raise InvalidInput(f"{path} is no kernel module: {error}", "build it again") from error
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs}
