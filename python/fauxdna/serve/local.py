"""A die in this process, and the PCI bus that it sits on."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fauxdna import _core
from fauxdna.abi import array, bars, pci
from fauxdna.bus import BusError
from fauxdna.bus.local import LocalBus, Served
from fauxdna.device import Die
from fauxdna.device.faults import Fault
from fauxdna.device.function import Function
from fauxdna.log import Log

from .slot import Slot


class LocalDie:
    """A :class:`fauxdna.bus.Host` that owns a die. Close it, or use it as a context manager.

    Args:
        bdf: Name of the PF.
        columns: Columns of the array.
        total_vfs: VFs that can be enabled.
        root_key: Whose firmware the die accepts; the development key by default.
        log: Where the die writes; a new one by default.
        pace: ``"fast"`` runs as fast as the host can, ``"real"`` no faster than simulated time.
        cpu: The host CPU to pin the engine's thread to.
        mirror_write_index: Show write_index of a padded queue header where Linux 7.2 looks for it too: the bridge between
            XRT 2.25 and that kernel.
        faults: What goes wrong, in tests of drivers.
    """

    def __init__(
        self,
        bdf: str = "0000:05:00.0",
        *,
        columns: int = array.COLUMNS,
        total_vfs: int = pci.TOTAL_VFS,
        root_key: Ed25519PublicKey | None = None,
        log: Log | None = None,
        pace: str = "fast",
        cpu: int | None = None,
        mirror_write_index: bool = True,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.engine = _core.Engine(columns, pace=pace, cpu=cpu, mirror=mirror_write_index)
        """What runs the die's contexts: for reports and traces, which are not on the bus."""
        self.total_vfs = total_vfs
        """VFs that can be enabled."""
        self._die = Die(bdf, columns=columns, total_vfs=total_vfs, root_key=root_key, log=log, engine=self.engine, faults=faults)
        self._open: dict[str, Served] = {}
        self._slots: dict[str, Slot] = {}
        self._watchers: list[Callable[[int], None]] = []
        self._die.on_vf = self._vf_appears
        self._die.on_vfs = self._vfs_change

    @property
    def log(self) -> Log:
        """What device and firmware said."""
        return self._die.log

    @property
    def kick_fd(self) -> int:
        """The eventfd that wakes the engine; see ``_core.HostQueue``."""
        return self.engine.kick_fd

    def functions(self) -> tuple[str, ...]:
        """See :class:`fauxdna.bus.Host`."""
        return tuple(self._die.functions())

    def open(self, bdf: str) -> LocalBus:
        """See :class:`fauxdna.bus.Host`."""
        with self._die.lock:
            function = self._die.functions().get(bdf)
            if function is None:
                raise BusError(errno.ENODEV, f"no function {bdf}; there are {', '.join(self.functions())}")
            self._check_free(bdf, function)
            function.enable_memory()
            self._open[bdf] = function
        return LocalBus(function, lambda: self._closed(function))

    def vf_bdf(self, index: int) -> str:
        """Name of VF ``index`` (from 0), whether it is enabled or not; ``ENODEV`` if the die can have none such."""
        if not 0 <= index < self.total_vfs:
            raise BusError(errno.ENODEV, f"VF {index}; the die has VF 0 to {self.total_vfs - 1}")
        return self._die.vf_bdf(index)

    def hold(self, vf: int | None = None) -> Slot:
        """The place of the PF, or of VF ``vf`` (from 0), which need not be enabled. ``EBUSY`` as :meth:`open`."""
        bdf = self._die.pf.bdf if vf is None else self.vf_bdf(vf)
        sizes = bars.PF_BAR_SIZES if vf is None else bars.VF_BAR_SIZES
        with self._die.lock:
            function = self._die.functions().get(bdf)
            self._check_free(bdf, function)
            slot = Slot(
                bdf,
                sizes,
                self._die.lock,
                self.log.logger(bdf, "slot"),
                lambda: self._die.functions().get(bdf),
                self._let_go,
            )
            self._slots[bdf] = slot
            try:
                slot.plug()
            except BaseException:
                slot.close()
                raise
            return slot

    def watch_vfs(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Calls ``callback`` with the number of VFs that have been enabled, 0 when they vanish; call the result to end that.

        It is called with the die locked: it must neither wait nor touch a bus.
        """
        with self._die.lock:
            self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def show_doorbell(self, bdf: str, context: int, fd: int, offset: int) -> None:
        """Has a context's doorbell page in one page of ``fd``, which its client can map, in place of BAR 2.

        On hardware the client's page table would show it BAR 2; a client behind the ioctl door can map its node's file alone.
        ``ENOENT`` if the context has gone; ``EINVAL`` if the file has no such page.
        """
        try:
            engine_context = self._die.engine_context(bdf, context)
        except KeyError as error:
            raise BusError(errno.ENOENT, f"no context {context} of {bdf}") from error
        try:
            self.engine.move_doorbell(engine_context, fd, offset)
        except OSError as error:
            raise BusError(error.errno, f"doorbell of context {context} of {bdf}: {error.strerror}") from error

    def inject(self, *faults: Fault) -> None:
        """These faults, in place of earlier ones, happen from now on; none: all is well again."""
        self._die.inject(faults)

    def unplug(self, bdf: str) -> None:
        """Surprise removal: the function reads all ones. A PF takes its VFs along. ``ENODEV`` if it is not there."""
        with self._die.lock:
            (self._slots.get(bdf) or self._function(bdf)).unplug()

    def plug(self, bdf: str) -> None:
        """The function is there again, as after power-up; the PF comes without VFs."""
        with self._die.lock:
            (self._slots.get(bdf) or self._function(bdf)).plug()

    def _function(self, bdf: str) -> Function:
        function = self._die.functions().get(bdf)
        if function is None:
            raise BusError(errno.ENODEV, f"no function {bdf}; there are {', '.join(self.functions())}")
        return function

    def cost(self, bdf: str, context: int, sequence: int) -> dict[str, int]:
        """What packet ``sequence`` of a context cost; nothing for one that is not among the newest or whose context has gone."""
        try:
            return self.engine.packet_cost(self._die.engine_context(bdf, context), sequence) or {}
        except (KeyError, OSError):
            return {}

    def failure(self, bdf: str, context: int) -> str:
        """Why a context's last failed packet failed; "" if none did, or the context has gone."""
        try:
            return str(self.engine.context_state(self._die.engine_context(bdf, context))["message"])
        except (KeyError, OSError):
            return ""

    def trace(self, bdf: str, context: int, enabled: bool) -> None:
        """Starts or stops recording a context's events."""
        with suppress(KeyError, OSError):
            self.engine.set_trace(self._die.engine_context(bdf, context), enabled)

    def take_trace(self, bdf: str, context: int) -> list[tuple[int, str, str]]:
        """A context's events since the last call: (simulated ns, kind, text)."""
        try:
            return self.engine.take_trace(self._die.engine_context(bdf, context))
        except (KeyError, OSError):
            return []

    def close(self) -> None:
        """Ends the die; buses that are still open read all ones. May be called twice."""
        self._die.close()

    def __enter__(self) -> LocalDie:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _closed(self, function: Served) -> None:
        with self._die.lock:
            if self._open.get(function.bdf) is function:
                del self._open[function.bdf]

    def _let_go(self, slot: Slot) -> None:
        with self._die.lock:
            if self._slots.get(slot.bdf) is slot:
                del self._slots[slot.bdf]

    def _check_free(self, bdf: str, function: Served | None) -> None:
        if bdf in self._slots or (function is not None and self._open.get(bdf) is function):
            raise BusError(errno.EBUSY, f"{bdf} is open already; close it first")

    def _vf_appears(self, vf: Function) -> None:
        slot = self._slots.get(vf.bdf)
        if slot is not None:
            slot.appear(vf)

    def _vfs_change(self, count: int) -> None:
        if not count:
            for slot in self._slots.values():
                if slot.bdf != self._die.pf.bdf:
                    slot.vanish()
        for watcher in list(self._watchers):
            watcher(count)
