"""A preemption with the save and restore pages that AMD's aiebu-asm itself adds: nothing of them is ours."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from _patience import PATIENCE
from _trixie import TrixieRoot

from fauxdna.abi.control_code import PAGE_SIZE, Opcode
from fauxdna.abi.elf import SCRATCH_PAD_SIZE, SCRATCH_PAD_SYMBOL
from fauxdna.abi.uapi import ATTRIBUTE_STATE, HWCTX_ENTRY, ArrayParam, StateParam
from fauxdna.abi.uapi_next import Level
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine
from fauxdna.artifact.elf import Kernel, parse
from fauxdna.errors import CommandFailed
from fauxdna.firmware import image_loader
from fauxdna.runtime import Npu
from fauxdna.runtime._buffer import Buffer
from fauxdna.runtime._loader import Constants, LoadedKernel
from fauxdna.runtime._queue import CommandQueue
from fauxdna.serve import LocalDie

pytestmark = pytest.mark.trixie

EXAMPLES = Path(__file__).parents[2] / "examples" / "control_code"
INPUT, OUTPUT, SAVED, RESTORED = range(4)
QUARTER = SCRATCH_PAD_SIZE // 4
PLACE = 0x1000 * 4
"""Where ``preempt.asm`` puts 1024 bytes in each quarter of the mem tile."""


@dataclass(frozen=True)
class Program:
    """A kernel that copies 4096 bytes in each of its columns."""

    kernel: Kernel
    columns: int

    @property
    def given(self) -> npt.NDArray[np.uint8]:
        """What it copies."""
        return np.random.default_rng(11).integers(0, 256, 4096 * self.columns).astype(np.uint8)

    def edited(self, edit: Callable[[bytes], bytes]) -> Program:
        """The same with other control code."""
        return replace(self, kernel=replace(self.kernel, code=edit(self.kernel.code)))


def assembled(root: TrixieRoot, folder: Path, arguments: int, parts: Mapping[str, str]) -> Kernel:
    """What aiebu-asm makes of the text ``main`` and of what that includes."""
    for name, text in parts.items():
        (folder / f"{name}.asm").write_text(text)
    described = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(arguments)]
    instance = {"id": "inst0", "ctrl_code_file": "main.asm"}
    kernels = {"xrt-kernels": [{"name": "DPU", "arguments": described, "instance": [instance]}]}
    (folder / "config.json").write_text(json.dumps(kernels))
    done = root.run("aiebu-asm", "-t", "aie4_config", "-j", "config.json", "-o", "out.elf", "-f", "disabledump", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return parse((folder / "out.elf").read_bytes()).kernel()


def in_column(text: str, column: int) -> str:
    """Code of column 0 for another one: the addresses of its registers have six digits."""
    text = re.sub(r"\b0x([0-9A-F]{6})\b", lambda address: f"{int(address[1], 16) | column << 25:#x}", text)
    for name in ("input", "output"):
        text = text.replace(f"{name}:\n  .long 0\n  .long 0", f"{name}:\n  .long 0\n  .long {4096 * column:#x}")
    text = text.replace("TILE_0_", f"TILE_{column}_").replace("0x2A", f"{0x2A + column:#x}")
    return text.replace("group 0", f"group {2 * column}").replace("preempt_routes", f"routes_{column}")


@pytest.fixture(scope="module", params=[1, 3], ids=["1 column", "3 columns"])
def program(request: pytest.FixtureRequest, trixie_root: TrixieRoot, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """``preempt.asm``, in each column 4096 bytes on. Two arguments stand for the scratch pad: what is saved goes to one, what is
    restored comes from the other.
    """
    columns: int = request.param
    head, group, body = (EXAMPLES / "preempt.asm").read_text().replace("0x00000000", "0").partition(".attach_to_group")
    routes = (EXAMPLES / "preempt_routes.asm").read_text()
    main = head.replace("1column", f"{columns}column") + "".join(in_column(group + body, column) for column in range(columns))
    parts = {f"routes_{column}": in_column(routes, column) for column in range(columns)}
    whole = assembled(trixie_root, tmp_path_factory.mktemp("preempt"), 2, {"main": main, **parts})
    # In each column the save pages have one BD for each half, the restore pages one for each quarter; they come in this order.
    pad = sorted(whole.patches[SCRATCH_PAD_SYMBOL], key=lambda patch: patch.offset)
    assert len(pad) == 6 * columns
    others = {symbol: patches for symbol, patches in whole.patches.items() if symbol != SCRATCH_PAD_SYMBOL}
    saved = tuple(patch for index, patch in enumerate(pad) if index % 6 < 2)
    restored = tuple(patch for index, patch in enumerate(pad) if index % 6 >= 2)
    return Program(replace(whole, patches=others | {str(SAVED): saved, str(RESTORED): restored}), columns)


@pytest.fixture
def file() -> Iterator[AccelFile]:
    with (
        LocalDie() as die,
        Machine(die, image_loader(), kick_fd=die.kick_fd, telemetry=die) as machine,
        machine.open(level=Level.NEXT) as opened,
    ):
        yield opened


class Run:
    """One run of a program in a context of its own.

    Attributes:
        output: Argument 1 afterwards.
        saved: What was saved.
        preemptions: How often the context was preempted.
    """

    def __init__(
        self, file: AccelFile, program: Program, *, forced: bool = True, restored: npt.NDArray[np.uint8] | None = None
    ) -> None:
        """``restored`` is restored from; by default that is what was saved."""
        file.set_state(StateParam.FORCE_PREEMPT, ATTRIBUTE_STATE.pack(state=int(forced)))
        with ExitStack() as undo:
            given, pad = program.given, SCRATCH_PAD_SIZE * program.columns
            buffers = [undo.enter_context(Buffer(file, size)) for size in (given.size, given.size, pad, pad)]
            buffers[INPUT].bytes[:] = given
            if restored is None:
                buffers[RESTORED] = buffers[SAVED]
            else:
                buffers[RESTORED].bytes[:] = restored
            constants = Constants(file, program.kernel, program.columns)
            undo.callback(constants.close)
            loaded = LoadedKernel(file, constants)
            undo.callback(loaded.close)
            for index, buffer in enumerate(buffers):
                loaded.bind(index, buffer.address)
            commands = CommandQueue(file, program.columns)
            undo.callback(commands.close)
            commands.wait(commands.submit(loaded.entry), PATIENCE)
            (context,) = [HWCTX_ENTRY.unpack(file.get_array(ArrayParam.HW_CONTEXT_ALL, HWCTX_ENTRY.size, 8)[2])]
            self.preemptions: int = context.preemptions
            self.output: npt.NDArray[np.uint8] = buffers[OUTPUT].bytes[: given.size].copy()
            self.saved: npt.NDArray[np.uint8] = buffers[SAVED].bytes[:pad].copy()


def saved_at(index: int) -> int:
    """Where byte ``index`` of what is copied is saved."""
    quarter, offset = divmod(index, 1024)
    return quarter * QUARTER + PLACE + offset


def test_a_preempted_program_gives_the_same_bytes(file: AccelFile, program: Program) -> None:
    free, forced = Run(file, program, forced=False), Run(file, program)
    assert (free.preemptions, forced.preemptions) == (0, 1)
    assert free.output.tobytes() == forced.output.tobytes() == program.given.tobytes()
    # The mem tiles held the input and nothing else.
    wanted = np.zeros(SCRATCH_PAD_SIZE * program.columns, np.uint8)
    wanted[[saved_at(index) for index in range(program.given.size)]] = program.given
    assert not free.saved.any()
    assert forced.saved.tobytes() == wanted.tobytes()


def test_what_goes_on_is_what_was_restored(file: AccelFile, program: Program) -> None:
    """A byte of the saved memory that is changed is changed in the result; so is all of it."""
    saved = Run(file, program).saved
    for index in (0, 1023, 1024, program.given.size - 1):
        tampered = saved.copy()
        tampered[saved_at(index)] ^= 0xFF
        output = Run(file, program, restored=tampered).output
        assert np.flatnonzero(output != program.given).tolist() == [index]
    assert not Run(file, program, restored=np.zeros_like(saved)).output.any()


SAVE, RESTORE = 2, 3
"""Pages of the first column: the program, its PDI, then the assembler's."""


def _edit(page: int, old: tuple[int, ...], new: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """Replaces the only words ``old`` of a page."""

    def change(code: bytes) -> bytes:
        words = list(struct.unpack(f"<{PAGE_SIZE // 4}I", code[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]))
        (at,) = [at for at in range(len(words)) if tuple(words[at : at + len(old)]) == old]
        words[at : at + len(old)] = new
        return code[: page * PAGE_SIZE] + struct.pack(f"<{len(words)}I", *words) + code[(page + 1) * PAGE_SIZE :]

    return change


WRONG = {
    # Addresses and lengths of mem tile BDs.
    "the second half saves the first": _edit(SAVE, (0x00860000, 0x60000), (0x00800000, 0x60000)),
    "a quarter is restored elsewhere": _edit(RESTORE, (0x00830000, 0x30000), (0x00890000, 0x30000)),
}
STUCK = {
    "the PDI is not loaded again": _edit(RESTORE, (int(Opcode.LOAD_LAST_PDI),), (int(Opcode.NOP),)),
    # Selections: of the shim's second S2MM, and of the mem tile's fifth.
    "no way out of the mem tile's second half": _edit(SAVE, (0x80000013,), (0x80000014,)),
    "no way into the mem tile's second half": _edit(RESTORE, (0x80000012,), (0x80000010,)),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG)
def test_pages_that_are_tampered_with_give_other_bytes(edit: Callable[[bytes], bytes], file: AccelFile, program: Program) -> None:
    run = Run(file, program.edited(edit))
    assert run.preemptions == 1
    assert run.output.tobytes() != program.given.tobytes()


@pytest.mark.parametrize("edit", STUCK.values(), ids=STUCK)
def test_pages_that_are_tampered_with_hang(edit: Callable[[bytes], bytes], file: AccelFile, program: Program) -> None:
    tampered = program.edited(edit)
    assert Run(file, tampered, forced=False).output.tobytes() == program.given.tobytes()
    with pytest.raises(CommandFailed, match="did not end in time"):
        Run(file, tampered)


def test_cores_get_their_programs_again(trixie_root: TrixieRoot, tmp_path: Path, file: AccelFile) -> None:
    """``matmul.asm``, whose routes, BDs and tile program become a PDI. It is preempted when the core waits for its first lock."""
    text = (EXAMPLES / "matmul.asm").read_text().replace("3column", "1column").replace("  LOCAL_BARRIER           $lb0, 2\n", "")
    head, _, rest = text.partition("START_JOB 0\n")
    setup, _, rest = rest.partition("START_JOB 1\n")
    # DMA tasks do not outlive a preemption: they start after it.
    tasks = [line for line in setup.splitlines(keepends=True) if re.search(r"0x(109E|6ACE)", line)]
    assert len(tasks) == 6
    setup = "".join(line for line in setup.splitlines(keepends=True) if line not in tasks)
    work, _, data = rest.partition("EOF\n")
    point = "START_JOB 7\n  LOAD_PDI 7, @setup\nEND_JOB\nSTART_JOB 8\n  PREEMPT 1, @save, @restore\nEND_JOB\n"
    main = f"{head}{point}START_JOB 1\n{''.join(tasks)}{work}EOF\n{data}\n.include setup.asm\n"
    nested = f"setup:\nSTART_JOB 0\n{setup}EOF\n{data}\n.endl setup\n"
    kernel = assembled(trixie_root, tmp_path, 3, {"main": main, "setup": nested})
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((16, 64), (64, 32)))
    for forced in (0, 1):
        file.set_state(StateParam.FORCE_PREEMPT, ATTRIBUTE_STATE.pack(state=forced))
        product = np.zeros((16, 32), np.int32)
        report = Npu(file).run_elf((tmp_path / "out.elf").read_bytes(), [a, b, product], timeout_s=PATIENCE)
        np.testing.assert_array_equal(product, a.astype(np.int32) @ b.astype(np.int32))
        # Saved and restored, 3 MiB go from one end of a stream to the other.
        assert (report.bytes_moved > 4 * SCRATCH_PAD_SIZE) == bool(forced)
    assert kernel.arguments == 3
