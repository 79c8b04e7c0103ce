"""The Rust core: DMA address spaces, MSI-X, the doorbell engine, the host side of its queues, tile arithmetic.

Every refusal is an ``OSError`` with the errno that Linux 7.2 would give and a sentence that names the object, the limit and the
remedy (``EAGAIN`` arrives as ``BlockingIOError``, ``EEXIST`` as ``FileExistsError``). No call holds the interpreter lock while it
waits. File descriptors are duplicated or mapped; the caller may close its own afterwards.
"""

from collections.abc import Callable, Sequence

from .host._door import DoorHandler

class AddressSpace:
    """What one function's DMA reaches: device addresses mapped to pages of files, in at most 65,535 maps.

    ``shared``: other clients of this process must not suffer from what is mapped here, so at most 512 files or parts of files
    and 1 TiB of the process's addresses are taken. A file is in the process once, however many maps it has.
    """

    def __new__(cls, *, shared: bool = False) -> AddressSpace: ...
    def map(self, address: int, fd: int, offset: int, length: int, prot: int) -> None:
        """Maps ``length`` bytes of ``fd`` at file offset ``offset`` to device addresses from ``address`` on.

        ``prot``: 1 the device may read, 2 it may write, 3 both. EINVAL: not multiples of 4096, or past the end of the file;
        EOVERFLOW: the range wraps; EEXIST: it overlaps a mapping; ENOSPC: a limit; EBADF, EACCES, EPERM, ENOMEM: the file can't
        be mapped so.

        ``fd`` may be a process's memory (``/proc/PID/mem``, with its addresses as offsets), which is read and written in place;
        what the process has not, or no more, is a fault as if it were not mapped.
        """

    def reserve(self, address: int, length: int) -> None:
        """Takes note of addresses in use with nothing behind them. EINVAL, EOVERFLOW, EEXIST, ENOSPC: as :meth:`map`."""

    def unmap(self, address: int, length: int) -> int:
        """Takes a range away, splitting mappings where needed, and gives the bytes that were mapped in it (0 if none).

        Returns when the engine touches the range no more. ENOSPC: a split would make more maps than may be.
        """

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes as the device would read them; EFAULT if any is not mapped for reading."""

    def write(self, address: int, data: bytes) -> None:
        """Writes as the device would; EFAULT, with nothing written, if any byte is not mapped for writing."""

    def mappings(self) -> list[tuple[int, int, int]]:
        """``(address, length, prot)`` of what can be reached, in order of address."""

    def counts(self) -> tuple[int, int]:
        """Ranges in use, and those of them that can be reached."""

class Interrupts:
    """A function's MSI-X vectors: an eventfd, a mask bit and a pending bit each."""

    def __new__(cls, vectors: int) -> Interrupts: ...
    def set(self, vector: int, fd: int | None) -> None:
        """Delivers ``vector`` to an eventfd, or to nobody; a pending interrupt is delivered at once.

        A full counter is left at its end, and holds nobody up. EINVAL: not an eventfd; EBADF: not open.
        """

    def mask(self, vector: int, masked: bool) -> None:
        """Masks or unmasks; a pending interrupt is delivered when its vector is unmasked."""

    def trigger(self, vector: int) -> None:
        """Raises the interrupt."""

    def lose(self, vector: int, every: int) -> None:
        """Loses every ``every``th interrupt from now on, 0 none: for tests of what a driver does then."""

    def clear(self, vector: int) -> None:
        """Forgets an interrupt that was not delivered, as a reset does."""

    def pending(self, vector: int) -> bool:
        """Whether an interrupt waits for its mask or eventfd."""

class FirmwareRing:
    """A ring in host memory that management firmware fills: ``abi.firmware_ring``. What can't be written is lost."""

    def __new__(cls, space: AddressSpace, address: int, size: int, kind: int, payload_version: int) -> FirmwareRing:
        """In ``size`` bytes at a device address, whose last 4096 are the footer, which is written now. EINVAL: too small."""

    def append(self, data: bytes) -> None:
        """Adds bytes, then moves the tail."""

    def event(self, number: int, arguments: Sequence[int]) -> None:
        """Adds the record of an event that happens now, with up to 6 words."""

class Completions:
    """Waits for commands and interrupts of any number of queues and vectors, served by one thread."""

    def __new__(cls, *, kick_fd: int | None = None) -> Completions:
        """``kick_fd``: :attr:`Engine.kick_fd`, if there is one: a wait for what is not done makes a sleeping engine look."""

    def add_vector(self, eventfd: int, arm: Callable[[bool], None]) -> int:
        """Takes on an MSI-X vector that is delivered to ``eventfd``, which is non-blocking and read by nobody else.

        It is masked now. ``arm(True)`` unmasks and ``arm(False)`` masks it, called on the thread: when it is slept on for the
        first time, and when nobody has waited for it for 2 ms.
        """

    def remove_vector(self, vector: int) -> None:
        """Lets go of a vector and of the queues on it; waits end. On return ``arm`` is not running and will not be called."""

    def generation(self, vector: int) -> int:
        """How many times interrupts were noticed; to be read before the look at what they announce. ENOENT: no such vector."""

    def wait_interrupt(self, vector: int, generation: int, timeout_s: float | None = None) -> bool:
        """Waits for an interrupt after number ``generation``; False after ``timeout_s``. ENODEV: the vector was removed."""

    def add(self, queue_fd: int, queue_offset: int, length: int, vector: int) -> int:
        """Takes on a host queue in ``length`` bytes of a file, whose completions raise ``vector``.

        Its layout is what ``version.major`` says at each look. EINVAL: too short for a header, or not at a page; ENOENT: no such
        vector.
        """

    def remove(self, queue: int) -> None:
        """Lets go of a queue; waits for its commands end with EINVAL."""

    def waited_for(self, queues: Sequence[int]) -> bool:
        """Whether a wait for one of these queues is under way."""

    def drain(self, queues: Sequence[int]) -> None:
        """Returns when the waits for these queues that are under way now are over.

        Signal handlers run, and may end it by raising.
        """

    def indices(self, queue: int) -> tuple[int, int]:
        """``(read_index, write_index)`` as they are in memory. EINVAL: no such queue."""

    def wait(self, queue: int, sequence: int, timeout_ms: int = 0) -> bool:
        """Waits as Linux 7.2's WAIT_CMD does, until read_index has passed ``sequence``; False where it gives ETIME.

        ``timeout_ms`` 0, and from 2**31 on, waits for ever. Indices more than 32 apart are none. EINVAL: the queue was removed,
        now or while it was waited for, or its file was shrunk; ENODEV: so was the vector. Signal handlers run, and may end it by
        raising.
        """

    def close(self) -> None:
        """Ends all waits and the thread; may be called twice."""

class Call:
    """One intercepted ioctl, whose caller waits until it is answered.

    A caller that was killed or interrupted waits no more; then memory and descriptors are out of reach: ESRCH.
    """

    @property
    def node(self) -> int:
        """Index of the node in ``Door``'s files."""

    @property
    def client(self) -> int:
        """The open file description: the same for ``dup``, ``fork`` and SCM_RIGHTS, never used again after its end."""

    @property
    def request(self) -> int:
        """The ioctl number, 32 bits."""

    @property
    def argument(self) -> int:
        """The user pointer, 64 bits."""

    @property
    def pid(self) -> int:
        """The caller's process (thread group) as this process sees it; 0 if it is gone."""

    @property
    def tid(self) -> int:
        """The caller's thread."""

    @property
    def alive(self) -> bool:
        """Whether the caller still waits."""

    def data(self) -> bytes:
        """The ``_IOC_SIZE`` bytes at :attr:`argument`, read once, when first asked for; EFAULT, ESRCH."""

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes of the caller's memory; EFAULT if any of them is not readable, ESRCH."""

    def write(self, address: int, data: bytes) -> None:
        """Writes where the caller may write itself; EFAULT (some pages may be written by then), ESRCH."""

    def get_fd(self, fd: int) -> int:
        """A new descriptor of ours for the caller's ``fd``; EBADF, ESRCH."""

    def add_fd(self, fd: int, cloexec: bool) -> int:
        """Gives the caller a duplicate of our ``fd``, and its number there; EMFILE is the caller's limit."""

    def memory_fd(self) -> int:
        """``/proc/PID/mem`` of the caller, opened for reading and writing; it outlives the call.

        Reads and writes through it ignore the pages' protection, as a debugger's do.
        """

    def interruptible(self, ended: Callable[[], object] | None = None) -> None:
        """Makes the call a wait: a signal to the caller now ends it with ERESTARTSYS, as it ends a wait in a driver.

        ``ended()`` is called once if the call ends without :meth:`reply`: for a signal, by the caller's death, or because the
        door closes. It comes on a thread of the door before the caller goes on, or at once.
        """

    def reply(self, error: int = 0) -> bool:
        """Ends the call with an errno, or 0; False if the caller waits no more. A second reply is refused: EALREADY."""

class Door:
    """The ioctl door of one sandbox: the listener of its seccomp filter, and a thread that serves it."""

    def __new__(
        cls, listener: int, files: Sequence[int], handler: DoorHandler, *, completions: Completions | None = None
    ) -> Door:
        """Serves ioctls about the node files at ``files``, each a regular file of its own, opened read-write for this alone.

        Ioctls about other files run in the kernel. ``completions`` serves WAIT_CMD of contexts that are registered. The caller
        closes its own ``listener``: programs get errors instead of waiting for ever when its last descriptor is gone.
        EBADF, EINVAL: not a listener, not a regular file, or one file twice.
        """

    def register(self, client: int, hwctx: int, completion: int) -> None:
        """Serves WAIT_CMD of a client's hardware context from queue ``completion`` of the completions, without Python.

        ENOENT: no such client.
        """

    def forget(self, client: int, hwctx: int) -> None:
        """Hands WAIT_CMD of the context to the handler again; a client or context that is gone is no error."""

    def close(self) -> None:
        """Ends the door; may be called twice.

        Calls that wait get ENODEV, later ones ENOSYS from the kernel; then ``closed`` is called for every client. Returns after
        that, except on a thread of the door itself.
        """

class Engine:
    """One die's engine: the thread that owns doorbells, queues and partitions."""

    def __new__(cls, columns: int = 3, *, pace: str = "fast", cpu: int | None = None, mirror: bool = True) -> Engine:
        """A die of ``columns`` columns.

        ``pace``: ``"fast"`` runs as fast as the host can, ``"real"`` completes packets no earlier than simulated time says.
        ``cpu``: the host CPU to pin the thread to. ``mirror``: write_index of a padded queue header is mirrored to where Linux
        7.2 looks for it.
        """

    @property
    def kick_fd(self) -> int:
        """The eventfd that wakes the engine, for :class:`HostQueue`; valid until :meth:`close`."""

    def create_context(
        self,
        space: AddressSpace,
        *,
        queue_address: int,
        column: int,
        columns: int,
        doorbell_fd: int,
        doorbell_offset: int,
        interrupts: Interrupts,
        vector: int,
        priority: int = 0,
        owner: int = 0,
    ) -> int:
        """A hardware context on columns ``column`` to ``column + columns - 1``; arms its doorbell page and gives its id.

        Contexts of a higher ``priority`` run first. The queue is looked at when the doorbell rings. EINVAL: columns that the die
        has not, a bad vector, doorbell or queue address.
        """

    def move_doorbell(self, context: int, fd: int, offset: int) -> None:
        """Watches, armed, the page of ``fd`` at ``offset`` in place of the context's doorbell page. ENOENT: no such context."""

    def destroy_context(self, context: int) -> None:
        """Ends a context; returns when it touches no memory any more. ENOENT: no such context."""

    def context_state(self, context: int) -> dict[str, object]:
        """``state`` ("idle", "running", "error", "exited"), ``read_index``, ``completed``, ``errors``, ``message`` (of the last
        error, or ""), ``simulated_ns`` and ``energy_pj`` since creation, ``column``, ``columns``, ``priority``, ``owner``,
        ``waiting`` (packets in the queue), ``preemptions``, and ``failure``: None, or of the last packet that failed ``word``
        (its completion word; 0 if the queue could not be served), ``uc``, ``page``, ``offset``, ``opcode``, ``time_us`` (since
        1970).
        """

    def set_uc_log(self, context: int, buffers: Sequence[tuple[int, int]], always: bool = False) -> None:
        """Has micro-controllers log into the rings (``abi.uc_log``) at ``(device address, size)``, by number; [] ends that.

        Unless they log ``always``, what a packet logged is written when it fails.
        """

    def set_uc_debug(self, context: int, buffers: Sequence[tuple[int, int]]) -> None:
        """Has SAVE_REGISTER put id and value at ``(device address, size)``, by number, anew for each packet; [] ends it."""

    def set_events(self, context: int, sinks: Sequence[tuple[FirmwareRing, int, int]]) -> None:
        """Has the context's rings and commands told to ``(trace, categories, the context's number there)`` each, from now on.

        An event is in the trace before the command's completion word is in memory.
        """

    def set_force_preempt(self, context: int, forced: bool) -> None:
        """Whether each of the context's packets is preempted at its first PREEMPT."""

    def set_failing(self, context: int, every: int, reason: int) -> None:
        """Ends every ``every``th packet with an error of this reason (``ContextError``) instead of running it; 0 ends none.

        For tests of what a driver does then.
        """

    def read_array(self, context: int, address: int, words: int) -> bytes:
        """Registers or memory of the context's tiles, as a debugger reads them; ``address`` counts columns from its first.

        At most 4 MiB come back. EINVAL: no register or memory is there.
        """

    def write_array(self, context: int, address: int, data: bytes) -> None:
        """Writes whole words to registers or memory of the context's tiles. EINVAL: no register or memory is there."""

    def report(self, context: int) -> dict[str, object]:
        """What the context's packets cost.

        ``cycles``, ``simulated_ns``, ``energy_pj``, ``bytes`` and ``macs`` of all packets; ``last``: the same of the last one;
        ``ucs``: a list of ``uc``, ``instructions``, ``pages``, ``dma_bytes``, ``preemptions``. Then, since the array was last
        made anew (when the context was created or a packet failed), ``events`` and ``tiles``: a list of ``column``, ``row``,
        ``kind``, ``channels`` (``name``, ``busy_cycles``, ``bytes``, ``tasks``, ``bds``, ``energy_pj``) and ``core``
        (``busy_cycles``, ``macs``, ``elements``, ``instructions``, ``energy_pj``; only where a core ran).
        """

    def packet_cost(self, context: int, sequence: int) -> dict[str, int] | None:
        """``last`` of :meth:`report` for packet ``sequence``; None if it ran no code or is not among the newest 64."""

    def set_trace(self, context: int, enabled: bool) -> None:
        """Starts or stops recording events."""

    def take_trace(self, context: int) -> list[tuple[int, str, str]]:
        """Events since the last call: ``(simulated ns, kind, text)``.

        Kinds: ``packet``, ``completion``, ``error``, ``uc`` (an instruction), ``dma``, ``core``, ``lock``.
        """

    def kick(self) -> None:
        """Makes a sleeping engine look at all doorbells."""

    def set_clock(self, hclk_mhz: int) -> None:
        """Sets the array clock, which turns cycles into simulated time."""

    def close(self) -> None:
        """Ends all contexts and the thread; may be called twice."""

class HostQueue:
    """The host side of a queue: touches mapped memory only, and makes no system call unless the engine sleeps."""

    def __new__(
        cls,
        queue_fd: int,
        queue_offset: int,
        queue_address: int,
        size: int,
        doorbell_fd: int,
        doorbell_offset: int,
        *,
        layout: str = "padded",
        capacity: int = 32,
        kick_fd: int | None = None,
    ) -> HostQueue:
        """Lays a queue out in ``size`` bytes (:meth:`required_size` at least) that the device sees at ``queue_address``.

        ``layout``: ``"padded"`` (XRT) or ``"unpadded"`` (Linux 7.2). ``kick_fd``: :attr:`Engine.kick_fd`; without it a sleeping
        engine notices a ring within 1 ms, or 8 ms after a tenth of a second of silence.
        """

    @staticmethod
    def required_size(capacity: int = 32) -> int:
        """Bytes that a queue of ``capacity`` packets takes."""

    def submit(
        self,
        code: Sequence[tuple[int, int]],
        *,
        args_address: int = 0,
        args_length: int = 0,
        dtrace_address: int = 0,
        chain: bool = False,
    ) -> int:
        """Queues an EXEC_BUF of ``(uC, code address)`` pairs, rings, and gives the packet's sequence number.

        ``chain``: another packet of the same chain follows. EAGAIN: the queue is full; EIO: its memory is gone.
        """

    def submit_opcode(self, opcode: int) -> int:
        """Queues a packet without code (``PacketOpcode.TEST`` or ``EXIT``)."""

    def completion(self, sequence: int) -> int:
        """The completion word of a packet; 0 while it runs."""

    def spin(self, sequence: int, microseconds: int) -> int:
        """Polls for a completion word for at most so long; 0 if it did not come. Releases the interpreter lock."""

    def ring(self) -> None:
        """Rings the doorbell again."""

    def measure(self, code: int, samples: int, *, eventfd: int | None = None, cpu: int | None = None) -> dict[str, float]:
        """Latency of the control code at ``code`` on uC 0, one packet in flight, on a thread pinned to ``cpu``.

        Each packet is waited for by polling its completion word, or by sleeping on ``eventfd``, which the queue's vector must be
        delivered to. Gives ``samples``, ``min_ns``, ``p50_ns``, ``p90_ns``, ``p99_ns``, ``p999_ns``, ``max_ns``, ``mean_ns``.
        """

def line_round_trip(samples: int, cpus: tuple[int, int]) -> dict[str, float]:
    """The floor of every latency here: one word to another CPU and an answer back. Keys as :meth:`HostQueue.measure`."""

def tile_execute(
    opcode: int, descriptor: bytes, operands: list[int], memory: bytearray, simd: str | None = None
) -> tuple[int, int, int]:
    """Run one arithmetic tile instruction on ``memory`` in place and return its cost.

    Args:
        opcode: tile_program.Opcode.
        descriptor: the instruction's descriptor, of exactly its structure's size.
        operands: byte addresses in ``memory``, in the order of tile_program.OPERATIONS.
        memory: the tile's data memory.
        simd: "scalar", "avx2" or "avx512"; None takes the best that the processor has.

    Returns:
        Simulated cycles, multiply-accumulates and elements written.

    Raises:
        ValueError: a text and the tile_program.Fault; ``memory`` is unchanged.
    """

def benchmark_gemm(seconds: float) -> dict[str, float]:
    """Measure the int8 matrix product of one tile, PACK of a row-major B in tile memory included, for ``seconds``.

    Returns:
        ``gmacs`` and ``register_loop_gmacs`` (a loop of vpdpbusd on registers), medians in 10**9 MAC/s measured in turn on the
        calling thread, and their quotient ``fraction_of_peak``; the last two are 0 without AVX-512 VNNI.
    """

def benchmark_layer(
    out: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    signed: bool,
    seconds: float,
    simd: str | None = None,
) -> float:
    """Median 10**9 MAC/s of a convolution of ``channels`` (out, in) as one instruction; in-channels 0 make it depthwise.

    0 if the layer does not fit a tile.
    """

def simd_levels() -> list[str]:
    """Names of the instruction-set levels that this processor has, lowest first."""
