"""A Debian trixie root with AMD's own tools, and what they and our disassembler see in an ELF."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fauxdna.abi.control_code import PAGE_SIZE, Opcode
from fauxdna.artifact import elf
from fauxdna.compiler.disassemble import operations


@dataclass(frozen=True)
class TrixieRoot:
    """A Debian trixie root with stock aiebu-asm and aiebu-dump (``./dev root``)."""

    path: Path

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs ``command`` in the root with a copy of ``folder`` as working directory; new files are copied back."""
        with tempfile.TemporaryDirectory(dir=self.path / "tmp") as inside:
            shutil.copytree(folder, inside, dirs_exist_ok=True)
            shell = 'cd "$0" && exec "$@"'
            done = subprocess.run(
                ["chroot", str(self.path), "sh", "-c", shell, "/" + str(Path(inside).relative_to(self.path)), *command],
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            shutil.copytree(inside, folder, dirs_exist_ok=True)
        return done

    def operations(self, image: bytes, folder: Path) -> list[str]:
        """Names of the control-code operations that aiebu-dump lists of an ELF; it must not complain."""
        (folder / "image.elf").write_bytes(image)
        done = self.run("aiebu-dump", "-d", "image.elf", folder=folder)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        known = {opcode.name for opcode in Opcode}
        words = (line.split()[0].upper() for line in done.stdout.splitlines() if line.strip())
        return [word for word in words if word in known]

    def xrt_takes(self, image: bytes, folder: Path) -> str:
        """What stock XRT says when it parses an ELF: empty if it takes it."""
        (folder / "image.elf").write_bytes(image)
        done = self.run("python3", "-c", "import pyxrt; pyxrt.elf('image.elf')", folder=folder)
        return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def our_operations(image: bytes) -> list[str]:
    """The same, as our disassembler sees them."""
    code = elf.parse(image).kernel().code
    pages = range(0, len(code), PAGE_SIZE)
    return [operation.name for at in pages for _, operation, _ in operations(code[at : at + PAGE_SIZE])]
