"""Whole models: the bytes of ``fauxdna run`` come through XRT, from Python and C++, and through our runtime's ioctls."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import pytest
from _models import make
from _recipe import RUNNER, write_recipe
from _xrt import Xrt, as_root

from fauxdna.abi.elf import SCRATCH_PAD_SIZE
from fauxdna.artifact.program import ArrayStep, Program
from fauxdna.compiler import compile as compile_model

pytestmark = [pytest.mark.trixie, pytest.mark.models]


@dataclass
class Whole:
    """A model on so many columns, in the working directory; what ``fauxdna run`` makes of its input."""

    xrt: Xrt
    program: Program
    columns: int
    x: bytes
    y: bytes = b""

    @property
    def step(self) -> ArrayStep:
        """Its only step."""
        (step,) = self.program.steps
        assert isinstance(step, ArrayStep)
        return step

    @property
    def names(self) -> tuple[str, str]:
        """``-i`` and ``-o`` of ``fauxdna run`` and the example."""
        ((x,), (y,)) = self.program.inputs, self.program.outputs
        return f"{x}=x.bin", f"{y}=y.bin"

    def need_locked(self) -> None:
        """Skips where XRT may not lock all buffers."""
        (kernel_bytes, workspace) = 2 * len(self.step.elf), self.step.workspace
        self.xrt.need_locked(self.columns * SCRATCH_PAD_SIZE + len(self.x) + len(self.y) + kernel_bytes + workspace)


_COMPILED: dict[tuple[str, int], tuple[Program, bytes, bytes]] = {}


@pytest.fixture(
    params=[("cls_mobile", 2), ("cls_mobile", 3), ("det_small", 3)], ids=["cls_mobile-2", "cls_mobile-3", "det_small-3"]
)
def whole(request: pytest.FixtureRequest, xrt: Xrt) -> Whole:
    name, columns = request.param
    if (name, columns) not in _COMPILED:
        made = make(name)
        program = made.program if columns == 3 else compile_model(made.graph, strict=True, columns=columns)
        ((_, x),) = made.feed().items()
        _COMPILED[name, columns] = program, x.tobytes(), _by_fauxdna_run(xrt, program, x.tobytes())
    program, x, y = _COMPILED[name, columns]
    _place(xrt, program, x)
    return Whole(xrt, program, columns, x, y)


def _place(xrt: Xrt, program: Program, x: bytes) -> None:
    program.save(xrt.folder / "whole.program")
    (xrt.folder / "whole.program").chmod(0o755)
    xrt.add("x.bin", x)


def _by_fauxdna_run(xrt: Xrt, program: Program, x: bytes) -> bytes:
    """What comes out without any of the doors."""
    _place(xrt, program, x)
    made = Whole(xrt, program, 0, x)
    (given, wanted), runner = made.names, as_root()
    assert not isinstance(runner, str)
    subprocess.run(
        runner.command("run", "whole.program", "-i", given, "-o", wanted), check=True, capture_output=True, **xrt.place()
    )
    y = xrt.read("y.bin")
    (xrt.folder / "y.bin").unlink()
    return y


def test_pyxrt(whole: Whole) -> None:
    whole.need_locked()
    given, wanted = whole.names
    whole.xrt.run("python3", whole.xrt.example("run_model.py"), "whole.program", "--input", given, "--output", wanted)
    assert whole.xrt.read("y.bin") == whole.y


def test_c_plus_plus(whole: Whole) -> None:
    whole.need_locked()
    xrt, step = whole.xrt, whole.step
    xrt.add("whole.elf", step.elf)
    out = f"out:y.bin:{len(whole.y)}"
    xrt.run(xrt.build("run_model.cpp"), "whole.elf", "in:x.bin", out, f"work:{step.workspace}")
    assert xrt.read("y.bin") == whole.y


def test_xrt_runner(whole: Whole) -> None:
    """AMD's own program around a recipe: ``--iterations`` overrules the profile, and each run is validated."""
    whole.need_locked()
    xrt = whole.xrt
    write_recipe(xrt, whole.step, len(whole.x), len(whole.y), iterations=1)
    command = (*RUNNER, "--iterations", "3", "--report")
    xrt.add("golden.bin", whole.y)
    assert '"iterations": 3' in xrt.run(*command).stdout
    xrt.add("golden.bin", whole.y[:-1] + bytes([whole.y[-1] ^ 1]))
    assert xrt.run(*command, check=False).returncode != 0


def test_our_own_runtime_through_the_ioctl_door(whole: Whole) -> None:
    """It locks nothing, so that any user may run any model."""
    xrt, (given, wanted) = whole.xrt, whole.names
    command = xrt.runner.command("run", "--device", "/dev/accel/accel0", "whole.program", "-i", given, "-o", wanted)
    done = xrt.runner.run("--", *command[len(xrt.runner.prefix) :], cwd=xrt.folder)
    assert done.returncode == 0, done.stderr
    assert xrt.read("y.bin") == whole.y
