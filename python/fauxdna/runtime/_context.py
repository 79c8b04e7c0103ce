"""A program loaded on a hardware context: runs, one after another or many in flight.

Choice: each run in flight has a slot of its own, which holds patched control code, tensors and workspace; constants are shared. A
context makes slots as they are needed, up to ``in_flight``; further submissions wait for a free one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fauxdna.accel import AccelFile, Qos
from fauxdna.artifact import elf
from fauxdna.artifact.program import ArrayStep, CpuStep, Program, TensorInfo
from fauxdna.errors import CommandFailed, DeviceGone, DeviceTimeout, InvalidArgument, NotFound

from ._buffer import Buffer, Tensor
from ._loader import Constants, LoadedKernel
from ._queue import CommandQueue
from ._report import Outputs, Report, StepReport
from ._telemetry import Recorder, layers, recording, step_cost

if TYPE_CHECKING:
    from ._cpu import CpuSession

Array = npt.NDArray[Any]
DEFAULT_TIMEOUT_S = 60.0
_CLOSE_POLL_S = 0.05


class Context:
    """A program on a hardware context. Made by :meth:`fauxdna.runtime.Npu.context`; a context manager.

    Args:
        file: The node's open file.
        program: What to run.
        in_flight: Most runs at once.
        timeout_s: How long one array step may take, in host seconds.
        qos: Hints for the scheduler.
        trace_layers: Record when each layer begins, for :attr:`StepReport.layers`.
        recorder: Where simulated events are written.
    """

    def __init__(
        self,
        file: AccelFile,
        program: Program,
        *,
        in_flight: int = 2,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        qos: Qos | None = None,
        trace_layers: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        if in_flight < 1:
            raise InvalidArgument(f"{in_flight} runs in flight", "allow at least 1")
        self.program = program
        self._file = file
        self._timeout_s = timeout_s
        self._in_flight = in_flight
        self._record = trace_layers or recorder is not None
        self._recorder = recorder
        self._turn = threading.Lock()
        self._report: Report | None = None
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._slots = 0
        self._broken: str | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._queue: CommandQueue | None = None
        self._constants: dict[int, Constants] = {}
        self._sessions: dict[int, CpuSession] = {}
        with ExitStack() as undo:
            array_steps = {index: step for index, step in enumerate(program.steps) if isinstance(step, ArrayStep)}
            if array_steps:
                self._queue = CommandQueue(file, max(step.columns for step in array_steps.values()), qos)
                undo.callback(self._queue.close)
            for index, array_step in array_steps.items():
                self._constants[index] = Constants(file, _kernel(array_step), array_step.columns)
                undo.callback(self._constants[index].close)
            for index, step in enumerate(program.steps):
                if isinstance(step, CpuStep):
                    from ._cpu import CpuSession

                    self._sessions[index] = CpuSession(step)
            self._release = undo.pop_all()

    @property
    def report(self) -> Report:
        """What the run that ended last cost; ``ENOENT`` before any has."""
        if self._report is None:
            raise NotFound(f"program {self.program.name} has not been run on this context", "run it first")
        return self._report

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What a run takes."""
        return tuple(self.program.tensors[name] for name in self.program.inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What a run gives."""
        return tuple(self.program.tensors[name] for name in self.program.outputs)

    def tensor(self, name: str) -> Tensor:
        """A device buffer for tensor ``name`` of the program, to pass to runs without a copy; the caller closes it."""
        info = self._info(name)
        return Tensor(self._file, info.shape, info.dtype, info.size)

    def run(self, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor] | None = None) -> Outputs:
        """Runs the program once and waits.

        Args:
            inputs: An array (copied) or :class:`Tensor` (used in place) for each of the program's inputs.
            outputs: Tensors that outputs are written to in place; the others come back as new arrays.

        Raises:
            NotFound, InvalidArgument: an input is missing, unknown, or of another shape or type.
            CommandFailed: the device gave up on it; the context is of no use after that.
            DeviceTimeout: ``ETIME``; the same.
        """
        self._check(inputs, outputs or {})
        return self._run(inputs, outputs or {})

    def _run(self, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor]) -> Outputs:
        slot = self._acquire()
        healthy = False
        try:
            result = self._execute(slot, inputs, outputs)
            healthy = True
            return result
        except (CommandFailed, DeviceTimeout) as error:
            self._broken = error.problem
            raise
        except Exception:
            healthy = self._broken is None
            raise
        finally:
            if healthy:
                self._free.put(slot)
            else:
                # The device may still touch its memory: the slot goes when the context has gone.
                self._release_last(slot)

    def submit(self, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor] | None = None) -> Future[Outputs]:
        """Starts a run and returns at once; arguments and, from the future, result and errors as :meth:`run`.

        Arrays and tensors must not change until the future is done.
        """
        self._check(inputs, outputs or {})
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._in_flight, "fauxdna-run")
            return self._executor.submit(self._run, dict(inputs), dict(outputs or {}))

    def close(self) -> None:
        """Waits for runs under way, destroys the hardware context and gives memory back; may be called twice."""
        with self._lock:
            executor, self._executor = self._executor, None
            self._closed = True
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
        slots: list[_Slot] = []
        while len(slots) < self._slots:
            with suppress(queue.Empty):
                slots.append(self._free.get(timeout=_CLOSE_POLL_S))
        self._slots = 0
        if self._queue is not None:
            self._queue.close()
        for slot in slots:
            slot.close()
        self._release.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _acquire(self) -> _Slot:
        with self._lock:
            if self._broken is not None:
                raise DeviceGone(f"this context is of no use any more: {self._broken}", "create another")
            make = self._free.empty() and self._slots < self._in_flight
            self._slots += make
        if not make:
            return self._free.get()
        try:
            return _Slot(self._file, self.program, self._constants)
        except BaseException:
            with self._lock:
                self._slots -= 1
            raise

    def _release_last(self, slot: _Slot) -> None:
        with self._lock:
            self._slots -= 1
            self._release.callback(slot.close)

    def _execute(self, slot: _Slot, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor]) -> Outputs:
        started = time.perf_counter()
        run = _Run(slot, inputs, outputs)
        reports = []
        for index, step in enumerate(self.program.steps):
            if isinstance(step, ArrayStep):
                reports.append(self._array_step(run, index, step))
            else:
                reports.append(self._cpu_step(run, self._sessions[index], step))
        values = {name: run.take(name) for name in self.program.outputs}
        self._report = Report((time.perf_counter() - started) * 1000, tuple(reports))
        return Outputs(values, self._report)

    def _array_step(self, run: _Run, index: int, step: ArrayStep) -> StepReport:
        assert self._queue is not None
        started = time.perf_counter()
        kernel = run.slot.kernels[index]
        arguments: list[Buffer] = [run.place(name) for name in step.inputs]
        arguments += [run.destination(name) for name in step.outputs]
        if step.workspace and run.slot.workspace is not None:
            arguments.append(run.slot.workspace)
        for number, buffer in enumerate(arguments):
            kernel.bind(number, buffer.address)
        # Events are the context's, not the run's: while they are recorded, array steps take turns.
        turn = self._turn if self._record else nullcontext()
        with turn, recording(self._file, self._queue.handle, self._recorder, always=self._record) as events:
            sequence = self._queue.submit(kernel.entry)
            self._queue.wait(sequence, self._timeout_s)
        cost = step_cost(self._file.cost(self._queue.handle, sequence))
        wall_ms = (time.perf_counter() - started) * 1000
        return StepReport(step.name, "array", wall_ms, *cost, layers(step, events))

    def _cpu_step(self, run: _Run, session: CpuSession, step: CpuStep) -> StepReport:
        started = time.perf_counter()
        results = session.run({name: run.value(name) for name in step.inputs})
        for name, value in zip(step.outputs, results, strict=True):
            info = self._info(name)
            if value.shape != info.shape or value.dtype != np.dtype(info.dtype):
                raise InvalidArgument(
                    f"CPU step {step.name} made {name} as {value.dtype} of shape {value.shape}; "
                    f"the program has {info.dtype} of shape {info.shape}",
                    "give the model fixed shapes and compile it again",
                )
            run.put(name, value)
        return StepReport(step.name, "cpu", (time.perf_counter() - started) * 1000)

    def _check(self, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor]) -> None:
        if self._closed:
            raise DeviceGone("this context is closed", "create another")
        missing = [name for name in self.program.inputs if name not in inputs]
        unknown = [name for name in inputs if name not in self.program.inputs]
        unknown += [name for name in outputs if name not in self.program.outputs]
        if missing or unknown:
            raise NotFound(
                f"program {self.program.name}: "
                + "; ".join(
                    text
                    for text in (
                        f"no value for input {', '.join(missing)}" if missing else "",
                        f"no tensor is called {', '.join(unknown)}" if unknown else "",
                    )
                    if text
                ),
                f"inputs are {', '.join(self.program.inputs)}, outputs {', '.join(self.program.outputs)}",
            )
        for name, value in (*inputs.items(), *outputs.items()):
            info = self._info(name)
            array = value.array if isinstance(value, Tensor) else np.asarray(value)
            if array.shape != info.shape or array.dtype != np.dtype(info.dtype):
                raise InvalidArgument(
                    f"tensor {name} is {array.dtype} of shape {array.shape}; the program has {info.dtype} of shape {info.shape}",
                    "convert it first: nothing is cast or broadcast",
                )
            if isinstance(value, Tensor) and (value.file is not self._file or value.size < info.size):
                raise InvalidArgument(
                    f"tensor {name} is a buffer of another file, or smaller than {info.size} bytes",
                    "allocate it with context.tensor",
                )

    def _info(self, name: str) -> TensorInfo:
        info = self.program.tensors.get(name)
        if info is None:
            raise NotFound(f"program {self.program.name} has no tensor {name}", f"it has {', '.join(self.program.tensors)}")
        return info


class _Slot:
    """Memory of one run in flight."""

    def __init__(self, file: AccelFile, program: Program, constants: Mapping[int, Constants]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.kernels: dict[int, LoadedKernel] = {}
        self.workspace: Buffer | None = None
        steps = {index: step for index, step in enumerate(program.steps) if isinstance(step, ArrayStep)}
        with ExitStack() as undo:
            for name in {name for step in steps.values() for name in (*step.inputs, *step.outputs)}:
                info = program.tensors[name]
                self.tensors[name] = undo.enter_context(Tensor(file, info.shape, info.dtype, info.size))
            for index in steps:
                self.kernels[index] = LoadedKernel(file, constants[index])
                undo.callback(self.kernels[index].close)
            size = max((step.workspace for step in steps.values()), default=0)
            if size:
                self.workspace = undo.enter_context(Buffer(file, size))
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()


class _Run:
    """Where each tensor of one run is."""

    def __init__(self, slot: _Slot, inputs: Mapping[str, Array | Tensor], outputs: Mapping[str, Tensor]) -> None:
        self.slot = slot
        self._outputs = outputs
        self._on_device: dict[str, Tensor] = {}
        self._values: dict[str, Array] = {}
        for name, value in inputs.items():
            if isinstance(value, Tensor):
                self._on_device[name] = value
                self._values[name] = value.array
            else:
                self._values[name] = np.asarray(value)

    def value(self, name: str) -> Array:
        """The tensor as an array, for a CPU step."""
        return self._values[name]

    def place(self, name: str) -> Tensor:
        """The tensor in device memory, copied there if it is not."""
        tensor = self._on_device.get(name)
        if tensor is None:
            tensor = self._on_device[name] = self.slot.tensors[name]
            np.copyto(tensor.array, self._values[name], casting="no")
        return tensor

    def destination(self, name: str) -> Tensor:
        """Where an array step writes the tensor."""
        tensor = self._outputs.get(name) or self.slot.tensors[name]
        self._on_device[name] = tensor
        self._values[name] = tensor.array
        return tensor

    def put(self, name: str, value: Array) -> None:
        """The tensor as a CPU step made it."""
        self._on_device.pop(name, None)
        self._values[name] = value

    def take(self, name: str) -> Array:
        """An output: the caller's tensor, filled, or an array of its own."""
        value = self._values[name]
        target = self._outputs.get(name)
        if target is None:
            return np.array(value)
        if target.array is not value:
            np.copyto(target.array, value, casting="no")
        return target.array


def _kernel(step: ArrayStep) -> elf.Kernel:
    try:
        return elf.parse(step.elf).kernel()
    except elf.ElfError as error:
        raise InvalidArgument(f"step {step.name}: {error.problem}", "compile the model again") from error
