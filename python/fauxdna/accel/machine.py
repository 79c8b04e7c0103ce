"""A host with AIE4 functions, brought up: the PF runs, VFs are created, nodes can be opened by what they are."""

from __future__ import annotations

import errno
import threading
import time
from contextlib import ExitStack
from typing import Final, Self

from fauxdna._core import Completions
from fauxdna.abi.uapi import DeviceType
from fauxdna.abi.uapi_next import Level
from fauxdna.bus import BusError, Host
from fauxdna.driver import BackingStore, FirmwareLoader, Function, Pf, no_firmware, probe
from fauxdna.errors import Busy, DeviceError, NotFound
from fauxdna.log import Log

from .local import LocalFile, Telemetry

_VF_TIMEOUT_S: Final = 1.0
_VF_INTERVAL_S: Final = 0.001


class Machine:
    """Functions of ``host`` under our driver. Close it to stop them all; a context manager.

    Args:
        host: What enumerates the functions, such as :class:`fauxdna.serve.LocalDie`.
        firmware: Gives the PF its images.
        vfs: VFs to create at first.
        kick_fd: The eventfd that wakes the die's engine, if it has one.
        telemetry: The simulated die's figures, if it tells them.
        log: Where the driver writes; a new one by default.
    """

    def __init__(
        self,
        host: Host,
        firmware: FirmwareLoader = no_firmware,
        *,
        vfs: int = 1,
        kick_fd: int | None = None,
        telemetry: Telemetry | None = None,
        log: Log | None = None,
    ) -> None:
        self._host = host
        self._kick_fd = kick_fd
        self._telemetry = telemetry
        self._log = log or Log()
        self._functions: dict[str, Function] = {}
        self._lock = threading.RLock()
        self.completions = Completions(kick_fd=kick_fd)
        """Serves the waits of all functions."""
        with ExitStack() as undo:
            undo.callback(self.completions.close)
            undo.callback(self._close_functions)
            for bdf in host.functions():
                self._probe(bdf, firmware)
            if vfs:
                self.set_vfs(vfs)
            self._undo = undo.pop_all()

    @property
    def nodes(self) -> dict[str, Function]:
        """Running functions by BDF, the PF first."""
        with self._lock:
            return dict(self._functions)

    def find(self, device_type: DeviceType) -> Function:
        """The first function of a kind. ``ENOENT`` if none runs: nodes are told apart by ``device_type``, never by number."""
        for function in self.nodes.values():
            if function.info.device_type is device_type:
                return function
        raise NotFound(f"no function has device_type {int(device_type)} ({device_type.name})", "create VFs with set_vfs")

    def set_vfs(self, count: int) -> None:
        """Destroys all VFs or creates ``count`` and brings them up (writing ``sriov_numvfs``).

        Raises:
            Busy: ``EPERM`` when a VF to be destroyed has open files; others as :meth:`fauxdna.driver.Pf.sriov_configure`.
        """
        pf = self.find(DeviceType.PF)
        assert isinstance(pf, Pf)
        with self._lock:
            if count == pf.num_vfs:
                return
            if not count:
                self._remove_vfs()
            pf.sriov_configure(count)
            for bdf in self._host.functions():
                if bdf not in self._functions:
                    self._probe(bdf, no_firmware)

    def open(
        self,
        device_type: DeviceType = DeviceType.UMQ,
        *,
        bdf: str | None = None,
        store: BackingStore | None = None,
        pid: int | None = None,
        level: Level = Level.LINUX_7_2,
    ) -> LocalFile:
        """Opens the node of the function at ``bdf``, or of the first of a kind. The rest is as in :class:`LocalFile`."""
        if bdf is None:
            function = self.find(device_type)
        else:
            found = self.nodes.get(bdf)
            if found is None:
                raise NotFound(f"no function {bdf} runs", f"there are {', '.join(self.nodes)}")
            function = found
        return LocalFile(function, store=store, kick_fd=self._kick_fd, pid=pid, telemetry=self._telemetry, level=level)

    def close(self) -> None:
        """Closes all files and stops all functions, VFs first; may be called twice."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _probe(self, bdf: str, firmware: FirmwareLoader) -> None:
        deadline = time.monotonic() + _VF_TIMEOUT_S
        while True:
            try:
                bus = self._host.open(bdf)
                break
            except BusError as error:
                # A VF may take a moment to appear after VF Enable; Linux waits 100 ms for all of them.
                if time.monotonic() >= deadline:
                    raise DeviceError(
                        f"{bdf} can't be opened: {error.strerror}", "close who has it", errno=error.errno
                    ) from error
                time.sleep(_VF_INTERVAL_S)
        self._functions[bdf] = probe(bus, bdf, firmware, self._log, self.completions)

    def _remove_vfs(self) -> None:
        vfs = {bdf: function for bdf, function in self._functions.items() if not isinstance(function, Pf)}
        busy = [bdf for bdf, function in vfs.items() if function.clients]
        if busy:
            raise Busy(f"VFs {', '.join(busy)} have open files", "close them first", errno=errno.EPERM)
        for bdf, function in vfs.items():
            function.close()
            del self._functions[bdf]

    def _close_functions(self) -> None:
        with self._lock:
            for bdf in reversed(list(self._functions)):
                self._functions.pop(bdf).close()
