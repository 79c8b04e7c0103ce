"""What programs do with XRT beside one run (``features.cpp``): each test's bytes are those of ``fauxdna run``, or of a copy."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pytest
from _kernels import assemble_kernels
from _models import make, session
from _xrt import Xrt

import fauxdna
from fauxdna.abi.elf import SCRATCH_PAD_SIZE
from fauxdna.artifact.program import ArrayStep
from fauxdna.compiler import compile as compile_model
from fauxdna.errors import CommandFailed

pytestmark = [pytest.mark.trixie, pytest.mark.models]
INPUTS = 24


@dataclass(frozen=True)
class Lines:
    """cls_mobile on so many columns, with text lines and what ``fauxdna run``'s runtime says of each."""

    step: ArrayStep
    inputs: list[bytes]
    outputs: list[bytes]

    def run(self, xrt: Xrt, test: str, count: int) -> None:
        """Runs a test of ``features.cpp`` with the first ``count`` inputs, and compares the outputs."""
        xrt.add("model.elf", self.step.elf)
        for index, data in enumerate(self.inputs[:count]):
            xrt.add(f"x{index}.bin", data)
        xrt.run(xrt.build("features.cpp"), test, "model.elf", str(len(self.outputs[0])), str(self.step.workspace), str(count))
        assert [xrt.read(f"y{index}.bin") for index in range(count)] == self.outputs[:count]


_LINES: dict[int, Lines] = {}


def lines(xrt: Xrt, columns: int, *, contexts: int = 1, count: int = 1) -> Lines:
    """The model, unless XRT may not lock the buffers of ``count`` runs in so many contexts."""
    if columns not in _LINES:
        made = make("cls_mobile")
        program = made.program if columns == 3 else compile_model(made.graph, strict=True, columns=columns)
        (step,) = program.steps
        assert isinstance(step, ArrayStep)
        feeds = list(islice(made.entry.calibration(), INPUTS))
        with fauxdna.open() as npu, npu.context(program) as context:
            outputs = [next(iter(context.run(dict(feed)).values())) for feed in feeds]
        onnxruntime = session(made.graph.SerializeToString())
        for feed, output in zip(feeds, outputs, strict=True):
            np.testing.assert_allclose(output, onnxruntime.run(None, dict(feed))[0], rtol=1e-5)
        _LINES[columns] = Lines(step, [feed["x"].tobytes() for feed in feeds], [output.tobytes() for output in outputs])
    made_lines = _LINES[columns]
    of_a_run = len(made_lines.step.elf) + made_lines.step.workspace + len(made_lines.inputs[0]) + (8 << 10)
    xrt.need_locked(contexts * columns * SCRATCH_PAD_SIZE + max(contexts, count) * of_a_run)
    return made_lines


@pytest.mark.parametrize("test", ["in_flight", "run_list"])
@pytest.mark.parametrize(("columns", "count"), [(1, 6), (3, INPUTS)])
def test_many_runs_at_once(xrt: Xrt, test: str, columns: int, count: int) -> None:
    lines(xrt, columns, count=count).run(xrt, test, count)


@pytest.mark.parametrize(("test", "count"), [("user_pointer", 2), ("sub_buffers", 1), ("share", 1)])
def test_memory_of_other_kinds(xrt: Xrt, test: str, count: int) -> None:
    """The caller's own, parts of a buffer, and another process's."""
    lines(xrt, 1).run(xrt, test, count)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_context_in_each_of_several_threads(xrt: Xrt, columns: int) -> None:
    count = 2 * columns
    lines(xrt, columns, contexts=count).run(xrt, "contexts", count)


def test_programs_beside_each_other_on_one_die(xrt: Xrt) -> None:
    """Each has its own input, and runs it many times while the others do the same."""
    made = lines(xrt, 1)
    program, socket = xrt.build("features.cpp"), str(xrt.folder / "die.sock")
    serve = xrt.runner.command("serve", "--socket", socket)
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=xrt.runner.environment) as die:
        try:
            assert die.stdout is not None
            assert die.stdout.readline().startswith("ready")
            running = []
            for index in range(4):
                there = replace(xrt, folder=xrt.folder / str(index))
                there.folder.mkdir(mode=0o777)
                there.folder.chmod(0o777)
                there.add("model.elf", made.step.elf)
                there.add("x0.bin", made.inputs[index])
                words = ("model.elf", str(len(made.outputs[0])), str(made.step.workspace), "1")
                command = there.command(f".{program}", "contexts", *words, options=("--die", socket))
                running.append((there, subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **there.place())))
            ended = [(process.communicate(timeout=120)[1], process.returncode) for _, process in running]
        finally:
            die.terminate()
    assert ended == [("", 0)] * 4
    assert [there.read("y0.bin") for there, _ in running] == made.outputs[:4]


def test_a_context_of_two_elfs(xrt: Xrt) -> None:
    assemble_kernels(xrt)
    lines(xrt, 1).run(xrt, "two_elfs", 1)


@pytest.mark.parametrize("test", ["full_queue", "failures", "failing_list", "time_limits"])
def test_several_kernels(xrt: Xrt, test: str) -> None:
    assemble_kernels(xrt)
    pace = ("--pace", "real") if test == "time_limits" else ()
    xrt.run(xrt.build("features.cpp"), test, "many.elf", options=pace)


def test_several_kernels_through_our_runtime(xrt: Xrt) -> None:
    elf = assemble_kernels(xrt)
    given = np.random.default_rng(5).integers(0, 256, 4096, np.uint8)
    with fauxdna.open() as npu:
        for kernel in ("copy:one", "copy:two"):
            output = np.zeros(4096, np.uint8)
            npu.run_elf(elf, [given, output], kernel=kernel)
            assert (output == given).all()
        with pytest.raises(CommandFailed, match="register 0x001ffffc"):
            npu.run_elf(elf, [given], kernel="bad:inst0")
