"""Stock XRT in the trixie root under ``fauxdna exec``, as root and as an ordinary user."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

SYSTEM = Path(__file__).parents[1]
EXAMPLES = Path(__file__).parents[3] / "examples"
sys.path[:0] = [str(EXAMPLES), str(SYSTEM / "exec"), str(SYSTEM)]

import run_a_model  # noqa: E402
from _sandboxed import Runner, as_root, as_user  # noqa: E402
from _trixie import TrixieRoot  # noqa: E402

import fauxdna  # noqa: E402
from fauxdna.abi.elf import SCRATCH_PAD_SIZE  # noqa: E402
from fauxdna.artifact.program import Program  # noqa: E402

_ELSEWHERE = "/mnt"
"""Where an ordinary user finds the root, which lies in root's own cache."""


__all__ = ["Small", "TrixieRoot", "Xrt", "as_root", "as_user"]


@dataclass(frozen=True)
class Xrt:
    """Runs programs of the trixie root on an NPU.

    Attributes:
        folder: Their working directory, which they may write to.
    """

    runner: Runner
    root: TrixieRoot
    folder: Path

    def run(self, *command: str, options: tuple[str, ...] = (), check: bool = True) -> subprocess.CompletedProcess[str]:
        """``fauxdna exec OPTIONS --root ROOT -- COMMAND``; with ``check`` it has to succeed."""
        done = subprocess.run(
            self.command(*command, options=options), capture_output=True, text=True, timeout=120, check=False, **self.place()
        )
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def command(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The same as a command line."""
        outer = list(raised()) if self.runner.prefix else []
        where = str(self.root.path)
        if self.runner.prefix:
            script = f'mount --bind "$0" {_ELSEWHERE} && exec "$@"'
            outer += ["unshare", "--mount", "sh", "-c", script, where]
            where = _ELSEWHERE
        return [*outer, *self.runner.command("exec", "--quiet", "--root", where, *options, "--", *command)]

    def place(self) -> dict[str, object]:
        """Working directory and environment for ``subprocess``."""
        return {"cwd": self.folder, "env": self.runner.environment | {"HOME": str(self.folder)}}

    def add(self, name: str, data: bytes | str) -> str:
        """A file in the working directory; gives its name."""
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(0o755)
        return name

    def need_locked(self, size: int) -> None:
        """Skips where XRT may not lock ``size`` bytes of buffers, and 0.5 MiB for queue and log."""
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        if self.runner.prefix and not raised() and limit != resource.RLIM_INFINITY and size + (512 << 10) > limit:
            pytest.skip(
                f"XRT locks {size / (1 << 20):.1f} MiB of buffers, this machine allows a user {limit >> 20} MiB, "
                "and root here may not raise that (CAP_SYS_RESOURCE)"
            )

    def need_scratch_pad(self, columns: int) -> None:
        """Skips where XRT may not lock its scratch pad for so many columns, and 1 MiB of arguments."""
        self.need_locked(columns * SCRATCH_PAD_SIZE + (1 << 20))

    def build(self, source: str) -> str:
        """Compiles an example or a program beside these tests, once a session; gives the program's name."""
        name = Path(source).stem
        if name not in _BUILT:
            found = next(folder / source for folder in (EXAMPLES / "xrt", Path(__file__).parent) if (folder / source).exists())
            self.add(source, found.read_bytes())
            flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread")
            self.run("g++", *flags, source, "-o", name, "-lxrt_coreutil")
            _BUILT[name] = self.read(name)
        return "./" + self.add(name, _BUILT[name])

    def example(self, name: str) -> str:
        """An example program of this repository, where an ordinary user may read it."""
        shutil.copy(EXAMPLES / "xrt" / name, self.folder)
        os.chmod(self.folder / name, 0o755)
        return name

    def read(self, name: str) -> bytes:
        """What a program wrote."""
        return (self.folder / name).read_bytes()


_BUILT: dict[str, bytes] = {}


@cache
def raised() -> tuple[str, ...]:
    """What lifts the limit of locked memory for a command, as limits.conf does at log-in; nothing where root may not."""
    command = ("prlimit", "--memlock=unlimited:unlimited")
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else ()


class Small:
    """A small model of two convolutions, an input, and the output that ``fauxdna run`` gives."""

    def __init__(self, columns: int) -> None:
        rng = np.random.default_rng(0)
        samples = [{"x": rng.normal(size=run_a_model.SHAPE).astype(np.float32)} for _ in range(4)]
        self.program: Program = fauxdna.compile(run_a_model.model(rng), calibration=samples, columns=columns)
        self.x: npt.NDArray[np.float32] = samples[0]["x"]
        with fauxdna.open() as npu, npu.context(self.program) as context:
            self.y: bytes = context.run({"x": self.x})["y"].tobytes()
        (self.step,) = self.program.steps
