"""A die in this process, and the PCI bus that it sits on."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fauxdna import _core
from fauxdna.abi import array, pci
from fauxdna.bus import BusError
from fauxdna.bus.local import LocalBus, Served
from fauxdna.device import Die
from fauxdna.log import Log


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
    ) -> None:
        self.engine = _core.Engine(columns, pace=pace, cpu=cpu)
        """What runs the die's contexts: for reports and traces, which are not on the bus."""
        self._die = Die(bdf, columns=columns, total_vfs=total_vfs, root_key=root_key, log=log, engine=self.engine)
        self._open: dict[str, Served] = {}
        self._lock = threading.Lock()

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
        with self._lock:
            function = self._die.functions().get(bdf)
            if function is None:
                raise BusError(errno.ENODEV, f"no function {bdf}; there are {', '.join(self.functions())}")
            if self._open.get(bdf) is function:
                raise BusError(errno.EBUSY, f"{bdf} is open already; close it first")
            function.enable_memory()
            self._open[bdf] = function
        return LocalBus(function, lambda: self._closed(function))

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
        with self._lock:
            if self._open.get(function.bdf) is function:
                del self._open[function.bdf]
