"""Programs through runtime, accel, driver, bus, queue, control code and array."""

from __future__ import annotations

import errno
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _doors import DecodingKernel
from _patience import PATIENCE
from _program import INNER, MACS, OUT, ROWS, array_step, expected, mixed_program, program, sample
from _usage import grew, usage

import fauxdna
from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.local import LocalFile
from fauxdna.accel.machine import Machine
from fauxdna.accel.real import RealFile
from fauxdna.artifact import elf
from fauxdna.artifact.program import Program
from fauxdna.errors import CommandFailed, DeviceGone, FauxdnaError, InvalidArgument, NotFound
from fauxdna.runtime import Npu, Tensor


@pytest.fixture
def npu() -> Iterator[Npu]:
    with fauxdna.open() as npu:
        yield npu


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_an_int8_product_equals_numpy(npu: Npu, columns: int) -> None:
    with npu.context(program(columns)) as context:
        for seed in range(5):
            outputs = context.run({"x": sample(seed)})
            np.testing.assert_array_equal(outputs["y"], expected(sample(seed)))


def test_a_report_says_what_a_run_cost(npu: Npu) -> None:
    with npu.context(program()) as context:
        with pytest.raises(NotFound):
            _ = context.report
        reports = [context.run({"x": sample(seed)}).report for seed in range(2)]
    assert context.report is reports[1]
    assert reports[0].macs >= MACS
    assert reports[0].bytes_moved >= 4 * ROWS * (INNER + OUT)
    assert reports[0].simulated_ns > 0 < reports[0].energy_uj
    # Neither host timing nor the data's values change simulated figures.
    assert reports[0].simulated_ns == reports[1].simulated_ns
    assert reports[0].energy_uj == reports[1].energy_uj
    assert reports[0].as_dict()["steps"][0]["place"] == "array"
    assert reports[0].wall_ms > 0


def test_layers_share_the_simulated_time(npu: Npu, tmp_path: Path) -> None:
    with npu.context(program(2), trace_layers=True) as context:
        (step,) = context.run({"x": sample(0)}).report.steps
    assert [layer.name for layer in step.layers] == ["quantise", "product", "restore"]
    assert all(layer.simulated_ns > 0 for layer in step.layers)
    assert all(layer.name in str(context.report) for layer in step.layers)
    # What is left is the set-up before the first layer.
    assert 0.3 * step.simulated_ns < sum(layer.simulated_ns for layer in step.layers) <= step.simulated_ns


def test_a_trace_names_packets_instructions_bds_and_locks(tmp_path: Path) -> None:
    with fauxdna.open(trace=tmp_path / "trace") as npu, npu.context(program(1)) as context:
        context.run({"x": sample(0)})
    lines = (tmp_path / "trace").read_text().splitlines()
    assert {line.split()[1] for line in lines} >= {"packet", "uc", "dma", "core", "lock", "completion"}
    times = [int(line.split()[0]) for line in lines]
    assert times == sorted(times)


def test_many_runs_in_flight(npu: Npu) -> None:
    with npu.context(mixed_program(), in_flight=4) as context:
        futures = [context.submit({"x": sample(seed)}) for seed in range(40)]
        for seed, future in enumerate(futures):
            outputs = future.result(PATIENCE)
            np.testing.assert_array_equal(outputs["y"], expected(sample(seed)))
            np.testing.assert_array_equal(outputs["z"], -expected(sample(seed)))
            assert outputs.report.simulated_ns > 0
        assert [step.place for step in context.report.steps] == ["array", "cpu"]


def test_tensors_are_used_in_place(npu: Npu) -> None:
    with npu.context(program()) as context:
        x, y = context.tensor("x"), context.tensor("y")
        for seed in range(3):
            x.array[...] = sample(seed)
            y.array[...] = -1
            outputs = context.run({"x": x}, {"y": y})
            assert outputs["y"] is y.array
            np.testing.assert_array_equal(y.array, expected(sample(seed)))
        x.close()
        y.close()


def test_two_contexts_and_two_npus_at_once(npu: Npu) -> None:
    with fauxdna.open() as other, npu.context(program(1)) as a, npu.context(program(2)) as b, other.context(program(3)) as c:
        futures = [(seed, context.submit({"x": sample(seed)})) for seed in range(6) for context in (a, b, c)]
        for seed, future in futures:
            np.testing.assert_array_equal(future.result(PATIENCE)["y"], expected(sample(seed)))


def test_a_program_on_disk(npu: Npu, tmp_path: Path) -> None:
    program().save(tmp_path / "p.fauxdna")
    with npu.context(tmp_path / "p.fauxdna") as context:
        np.testing.assert_array_equal(context.run({"x": sample(1)})["y"], expected(sample(1)))


def test_an_elf_with_arrays_for_arguments(npu: Npu) -> None:
    step = array_step()
    x, y, workspace = sample(3), np.zeros((OUT, ROWS, 1), np.float32), np.zeros(step.workspace, np.uint8)
    report = npu.run_elf(step.elf, [x, y, workspace])
    np.testing.assert_array_equal(y, expected(x))
    assert report.simulated_ns > 0
    with pytest.raises(InvalidArgument, match="argument"):
        npu.run_elf(step.elf, [x])
    for damaged in (b"", step.elf[:100], b"\x7fELF" + bytes(100)):
        with pytest.raises(InvalidArgument):
            npu.run_elf(damaged, [x, y, workspace])


def test_the_same_runtime_over_a_real_node(host: Machine, tmp_path: Path) -> None:
    node = tmp_path / "accel0"
    node.touch()
    kernel = DecodingKernel(host.open())
    with Npu(RealFile(node, kernel)) as npu, npu.context(program()) as context:
        assert npu.columns == 3
        outputs = context.run({"x": sample(9)})
        np.testing.assert_array_equal(outputs["y"], expected(sample(9)))
        assert outputs.report.simulated_ns == 0
    assert {request.name for request in kernel.requests} >= {
        "CREATE_BO",
        "GET_BO_INFO",
        "CREATE_HWCTX",
        "DESTROY_HWCTX",
        "GEM_CLOSE",
    }
    kernel.file.close()


def test_a_cpu_step_that_makes_another_shape_is_named(npu: Npu) -> None:
    mixed = mixed_program()
    wrong = replace(mixed.tensors["z"], shape=(OUT, ROWS, 2))
    with (
        npu.context(replace(mixed, tensors={**mixed.tensors, "z": wrong})) as context,
        pytest.raises(InvalidArgument, match="step neg made z"),
    ):
        context.run({"x": sample(0)})


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({}, NotFound),
        ({"x": sample(0), "w": sample(0)}, NotFound),
        ({"x": sample(0).astype(np.float64)}, InvalidArgument),
        ({"x": sample(0)[:-1]}, InvalidArgument),
    ],
    ids=["missing", "unknown", "type", "shape"],
)
def test_wrong_inputs_are_named(npu: Npu, inputs: dict[str, np.ndarray], kind: type[FauxdnaError]) -> None:
    with npu.context(program(1)) as context:
        for call in (context.run, context.submit):
            with pytest.raises(kind):
                call(inputs)
        context.run({"x": sample(0)})


def test_a_tensor_of_another_npu_is_refused(npu: Npu) -> None:
    shape = (INNER, ROWS, 1)
    with (
        fauxdna.open() as other,
        npu.context(program(1)) as context,
        other.tensor(shape, np.float32) as x,
        pytest.raises(InvalidArgument, match="another file"),
    ):
        context.run({"x": x})


def _damage(code: Callable[[bytearray], None]) -> Program:
    """The program with its ELF's first page of control code changed."""
    step = array_step(1)
    data = bytearray(step.elf)
    page = elf.parse(step.elf).kernel().code[:64]
    at = bytes(data).find(page)
    assert at > 0
    view = data[at : at + 64]
    code(view)
    data[at : at + 64] = view
    return replace(program(1), steps=(replace(step, elf=bytes(data)),))


def test_a_program_with_a_bad_page_fails_and_others_run_on(npu: Npu) -> None:
    def opcode(page: bytearray) -> None:
        page[16] = 0x77

    with npu.context(program(1)) as good:
        with npu.context(_damage(opcode)) as bad:
            with pytest.raises(CommandFailed, match=r"uC 0.*opcode 0x77") as caught:
                bad.run({"x": sample(0)})
            assert caught.value.errno == errno.EIO
            assert caught.value.completion & 0xF == 5
            with pytest.raises(DeviceGone, match="of no use"):
                bad.run({"x": sample(0)})
        np.testing.assert_array_equal(good.run({"x": sample(0)})["y"], expected(sample(0)))


def test_closing_in_the_middle_leaves_nothing_behind() -> None:
    with fauxdna.open() as npu:
        context = npu.context(program())
        future = context.submit({"x": sample(0)})
        context.close()
        context.close()
        assert future.cancelled() or future.result(PATIENCE)["y"].shape == (OUT, ROWS, 1)
        with pytest.raises(DeviceGone):
            context.run({"x": sample(0)})
        gc.collect()
        assert isinstance(npu.file, LocalFile)
        assert npu.file.function.memory.count == 0


def test_opening_and_closing_leaks_no_descriptor_and_no_thread() -> None:
    def cycle() -> None:
        with fauxdna.open() as npu, npu.context(program(1)) as context:
            context.run({"x": sample(0)})
        gc.collect()

    cycle()
    before = usage()
    for _ in range(5):
        cycle()
    assert not any(grew(before, usage))


def test_views_survive_the_npu() -> None:
    with fauxdna.open() as npu:
        tensor = Tensor(npu.file, (4,), np.int32)
        tensor.array[:] = range(4)
        view = tensor.array[1:]
        tensor.close()
        del tensor
    assert view.tolist() == [1, 2, 3]


def test_only_what_computes_can_be_opened(host: Machine) -> None:
    with pytest.raises(InvalidArgument, match="device_type 2"):
        Npu(host.open(DeviceType.PF))


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ["numpy", "onnx", "onnxruntime", "typer", "cryptography", "fauxdna.runtime", "fauxdna.compiler"]
    script = f"import sys, fauxdna; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_public_names() -> None:
    for name in fauxdna.__all__:
        assert getattr(fauxdna, name) is not None
    assert set(fauxdna.__all__) <= set(dir(fauxdna))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fauxdna.nothing
