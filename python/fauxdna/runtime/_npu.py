"""An opened NPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fauxdna.abi.uapi import QUERY_AIE_METADATA, DeviceType, InfoParam
from fauxdna.accel import AccelFile, Qos
from fauxdna.artifact import elf
from fauxdna.artifact.program import Program
from fauxdna.errors import InvalidArgument

from ._buffer import Buffer, Tensor
from ._context import DEFAULT_TIMEOUT_S, Context
from ._loader import Constants, LoadedKernel
from ._queue import CommandQueue
from ._report import Report, StepReport
from ._telemetry import Recorder, recording, step_cost


class Npu:
    """An open node of a function that computes. Made by :func:`fauxdna.open`; a context manager that closes what it opened.

    Args:
        file: The node's open file; closed with the NPU.
        owned: Closed after the file.
        trace: File that simulated events are appended to.
        log: Gives the lines of the log of device, firmware and driver.
    """

    def __init__(
        self,
        file: AccelFile,
        owned: ExitStack | None = None,
        *,
        trace: str | os.PathLike[str] | None = None,
        log: Callable[[], list[str]] = list,
    ) -> None:
        self.file = file
        self.log_lines = log
        """Lines of the log of device, firmware and driver; none on a real node, whose log is the kernel's."""
        self._undo = owned or ExitStack()
        self._undo.callback(file.close)
        self._recorder = None if trace is None else Recorder(trace)
        kind = file.attributes().get("device_type")
        if kind is not None and int(kind) != DeviceType.UMQ:
            self.close()
            raise InvalidArgument(
                f"{file.name} has device_type {kind}; only {int(DeviceType.UMQ)} (a VF with user-mode queues) computes",
                "create a VF (sriov_numvfs) and open its node",
            )

    @property
    def name(self) -> str:
        """BDF or path of the node."""
        return self.file.name

    @property
    def columns(self) -> int:
        """Columns of the array."""
        return QUERY_AIE_METADATA.unpack(self.file.get_info(InfoParam.AIE_METADATA, QUERY_AIE_METADATA.size)).cols

    def info(self) -> dict[str, str | int]:
        """What the function says of itself: attributes, driver version, array."""
        version = self.file.version()
        metadata = QUERY_AIE_METADATA.unpack(self.file.get_info(InfoParam.AIE_METADATA, QUERY_AIE_METADATA.size))
        return {
            "node": self.name,
            **self.file.attributes(),
            "driver": f"{version.name} {version.major}.{version.minor}",
            "columns": metadata.cols,
            "rows": metadata.rows,
            "core_rows": metadata.core_row_count,
            "mem_rows": metadata.mem_row_count,
            "shim_rows": metadata.shim_row_count,
        }

    def context(
        self,
        program: Program | str | os.PathLike[str],
        *,
        in_flight: int = 2,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        qos: Qos | None = None,
        trace_layers: bool = False,
    ) -> Context:
        """Loads a program (or the one saved at a path); arguments as :class:`Context`."""
        loaded = program if isinstance(program, Program) else Program.load(os.fspath(program))
        return Context(
            self.file,
            loaded,
            in_flight=in_flight,
            timeout_s=timeout_s,
            qos=qos,
            trace_layers=trace_layers,
            recorder=self._recorder,
        )

    def tensor(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tensor:
        """A zeroed array that the device reaches; the caller closes it."""
        return Tensor(self.file, shape, dtype)

    def queue(self, columns: int | None = None, qos: Qos | None = None) -> CommandQueue:
        """A bare hardware context of ``columns`` columns (by default all); the caller closes it."""
        return CommandQueue(self.file, columns or self.columns, qos)

    def run_elf(
        self,
        data: bytes,
        arguments: Sequence[npt.NDArray[Any] | Buffer],
        *,
        kernel: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Report:
        """Runs one kernel of an AIE4 full ELF, such as aiebu-asm makes, once.

        Args:
            data: The ELF.
            arguments: The kernel's arguments in order. Arrays are copied to the device, and back where they are writable;
                buffers are used in place.
            kernel: Which kernel, if the ELF has several.
            timeout_s: Host seconds to wait.

        Raises:
            InvalidArgument: ``EINVAL``, not such an ELF (``ElfError``), or a kernel with more arguments than were given.
            CommandFailed, DeviceTimeout: as :meth:`Context.run`.
        """
        parsed = elf.parse(data)
        chosen = parsed.kernel(kernel)
        needed = max((int(symbol) + 1 for symbol in chosen.patches if symbol.isdecimal()), default=0)
        if len(arguments) < needed:
            raise InvalidArgument(
                f"kernel {chosen.name} refers to argument {needed - 1}, and {len(arguments)} were given",
                f"give {needed} arguments",
            )
        started = time.perf_counter()
        with ExitStack() as undo:
            # First in, last out: memory goes after the context that uses it.
            constants = Constants(self.file, chosen, parsed.columns)
            undo.callback(constants.close)
            loaded = LoadedKernel(self.file, constants)
            undo.callback(loaded.close)
            buffers = []
            for argument in arguments:
                if isinstance(argument, Buffer):
                    buffers.append(argument)
                    continue
                buffer = undo.enter_context(Buffer(self.file, max(1, argument.nbytes)))
                np.copyto(buffer.view(argument.shape, argument.dtype), argument)
                buffers.append(buffer)
            for index, buffer in enumerate(buffers):
                loaded.bind(index, buffer.address)
            commands = CommandQueue(self.file, parsed.columns)
            undo.callback(commands.close)
            with recording(self.file, commands.handle, self._recorder):
                sequence = commands.submit(loaded.entry)
                commands.wait(sequence, timeout_s)
            cost = step_cost(self.file.cost(commands.handle, sequence))
            for argument, buffer in zip(arguments, buffers, strict=True):
                if not isinstance(argument, Buffer) and argument.flags.writeable:
                    np.copyto(argument, buffer.view(argument.shape, argument.dtype))
        wall_ms = (time.perf_counter() - started) * 1000
        return Report(wall_ms, (StepReport(f"{chosen.name}:{chosen.instance}", "array", wall_ms, *cost),))

    def close(self) -> None:
        """Closes the node, and the die if :func:`fauxdna.open` started one; may be called twice."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
