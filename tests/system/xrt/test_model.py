"""One artifact: a model's ELF gives the same bytes through XRT as through ``fauxdna run``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from _recipe import RUNNER, write_recipe
from _xrt import Small, Xrt

from fauxdna.artifact.program import ArrayStep

pytestmark = pytest.mark.trixie


def prepare(xrt: Xrt, small: Small) -> ArrayStep:
    step = small.step
    assert isinstance(step, ArrayStep)
    small.program.save(xrt.folder / "small.program")
    xrt.add("model.elf", step.elf)
    xrt.add("x.bin", small.x.tobytes())
    (xrt.folder / "small.program").chmod(0o755)
    return step


def test_pyxrt(xrt: Xrt, small: Small) -> None:
    prepare(xrt, small)
    xrt.run("python3", xrt.example("run_model.py"), "small.program", "--input", "x=x.bin", "--output", "y=y.bin")
    assert xrt.read("y.bin") == small.y


def test_c_plus_plus(xrt: Xrt, small: Small) -> None:
    step = prepare(xrt, small)
    xrt.run(xrt.build("run_model.cpp"), "model.elf", "in:x.bin", f"out:y.bin:{len(small.y)}", f"work:{step.workspace}")
    assert xrt.read("y.bin") == small.y


def test_xrt_runner(xrt: Xrt, small: Small) -> None:
    step = prepare(xrt, small)
    write_recipe(xrt, step, small.x.nbytes, len(small.y), iterations=20)
    command = (*RUNNER, "--report")
    xrt.add("golden.bin", small.y)
    assert '"iterations": 20' in xrt.run(*command).stdout
    xrt.add("golden.bin", bytes([small.y[0] ^ 1]) + small.y[1:])
    assert xrt.run(*command, check=False).returncode != 0


def test_our_own_runtime_through_the_ioctl_door(xrt: Xrt, small: Small) -> None:
    """The runtime over real ioctls, which the door answers: outside the root, by this machine's Python."""
    prepare(xrt, small)
    command = xrt.runner.command("run", "--device", "/dev/accel/accel0", "small.program", "-i", "x=x.bin", "-o", "y=y.bin")
    done = xrt.runner.run("--", *command[len(xrt.runner.prefix) :], cwd=xrt.folder)
    assert done.returncode == 0, done.stderr
    assert xrt.read("y.bin") == small.y


RUN_LIST = """
import sys, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("model.elf"))
kernel = pyxrt.ext.kernel(context, "DPU:inst0")
runs, outputs = pyxrt.runlist(context), []
keep = []
for index in range(int(sys.argv[1])):
    buffers = [pyxrt.ext.bo(device, int(size)) for size in sys.argv[2:]]
    data = open("x.bin", "rb").read()
    buffers[0].map()[: len(data)] = data
    run = pyxrt.run(kernel)
    for at, buffer in enumerate(buffers):
        run.set_arg(at, buffer)
    runs.add(run)
    keep.append((run, buffers))
    outputs.append(buffers[1])
for _ in range(3):
    runs.execute()
    runs.wait()
with open("y.bin", "wb") as file:
    for output in outputs:
        file.write(bytes(output.map()))
"""


@pytest.mark.parametrize("count", [1, 2, 24])
def test_run_lists(xrt: Xrt, small: Small, count: int) -> None:
    step = prepare(xrt, small)
    sizes = [str(size) for size in (small.x.nbytes, len(small.y), step.workspace)]
    xrt.run("python3", "-c", RUN_LIST, str(count), *sizes)
    assert xrt.read("y.bin") == small.y * count


def test_too_little_locked_memory(xrt: Xrt) -> None:
    """A scratch pad of 9 MiB where 8 are allowed: one sentence with the remedy before, and XRT's own after."""
    if not xrt.runner.prefix:
        pytest.skip("root may lock what it likes")
    prepare(xrt, Small(3))
    command = [word for word in xrt.command("python3", xrt.example("run_model.py"), "small.program") if word != "--quiet"]
    at = command.index(xrt.runner.prefix[0])
    command[at:at] = ["prlimit", "--memlock=8388608:8388608"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **xrt.place())
    warning, error = done.stderr.splitlines()
    assert warning.startswith("fauxdna: locked memory is limited to 8192 KiB, and XRT locks all of its buffers")
    assert "/etc/security/limits.d" in warning
    assert (error, done.returncode) == ("XRT: Failed to get scratchpad buffer from context", 1)


def test_a_program_built_elsewhere_is_named(xrt: Xrt, small: Small) -> None:
    """A binary of the newer root on this machine: the sentence says which glibc, and --root."""
    if Path("/usr/lib/x86_64-linux-gnu/libxrt_coreutil.so.2").exists():
        pytest.skip("XRT is installed on this machine")
    shutil.copy(xrt.root.path / "usr/bin/xrt-runner", xrt.folder)
    done = xrt.runner.run("--", "./xrt-runner", cwd=xrt.folder)
    assert done.returncode in (126, 127)
    assert "--root DIRECTORY" in done.stderr
