"""A preemption with the save and restore pages that AMD's aiebu-asm itself adds: nothing of them is ours."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
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
from fauxdna.firmware import build_images
from fauxdna.runtime._buffer import Buffer
from fauxdna.runtime._loader import Constants, LoadedKernel
from fauxdna.runtime._queue import CommandQueue
from fauxdna.serve import LocalDie

pytestmark = pytest.mark.trixie

EXAMPLES = Path(__file__).parents[2] / "examples" / "control_code"
GIVEN = np.random.default_rng(11).integers(0, 256, 4096).astype(np.uint8)
INPUT, OUTPUT, SAVED, RESTORED = range(4)
QUARTER = SCRATCH_PAD_SIZE // 4
PLACE = 0x1000 * 4
"""Where ``preempt.asm`` puts 1024 bytes in each quarter of the mem tile."""


@pytest.fixture(scope="module")
def kernel(trixie_root: TrixieRoot, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """``preempt.asm`` with two arguments for the scratch pad: what is saved goes to one, the other is restored from."""
    folder = tmp_path_factory.mktemp("preempt")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    arguments = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(2)]
    instance = {"id": "inst0", "ctrl_code_file": "preempt.asm"}
    described = {"xrt-kernels": [{"name": "DPU", "arguments": arguments, "instance": [instance]}]}
    (folder / "config.json").write_text(json.dumps(described))
    done = trixie_root.run(
        "aiebu-asm", "-t", "aie4_config", "-j", "config.json", "-o", "out.elf", "-f", "disabledump", folder=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole = parse((folder / "out.elf").read_bytes()).kernel()
    # The save pages have one BD for each half, the restore pages one for each quarter; they come in this order.
    pad = sorted(whole.patches[SCRATCH_PAD_SYMBOL], key=lambda patch: patch.offset)
    assert len(pad) == 6
    others = {symbol: patches for symbol, patches in whole.patches.items() if symbol != SCRATCH_PAD_SYMBOL}
    return replace(whole, patches=others | {str(SAVED): tuple(pad[:2]), str(RESTORED): tuple(pad[2:])})


@pytest.fixture
def file() -> Iterator[AccelFile]:
    with (
        LocalDie() as die,
        Machine(die, lambda path: build_images()[path.rpartition("/")[2]], kick_fd=die.kick_fd, telemetry=die) as machine,
        machine.open(level=Level.NEXT) as opened,
    ):
        yield opened


class Run:
    """One run of a kernel on its own context.

    Attributes:
        output: Argument 1 afterwards.
        saved: What was saved.
        preemptions: How often the context was preempted.
    """

    def __init__(
        self, file: AccelFile, kernel: Kernel, *, forced: bool = True, restored: npt.NDArray[np.uint8] | None = None
    ) -> None:
        """``restored`` is restored from; by default that is what was saved."""
        file.set_state(StateParam.FORCE_PREEMPT, ATTRIBUTE_STATE.pack(state=int(forced)))
        with ExitStack() as undo:
            sizes = (GIVEN.size, GIVEN.size, SCRATCH_PAD_SIZE, SCRATCH_PAD_SIZE)
            buffers = [undo.enter_context(Buffer(file, size)) for size in sizes]
            buffers[INPUT].bytes[:] = GIVEN
            if restored is None:
                buffers[RESTORED] = buffers[SAVED]
            else:
                buffers[RESTORED].bytes[:] = restored
            constants = Constants(file, kernel, 1)
            undo.callback(constants.close)
            loaded = LoadedKernel(file, constants)
            undo.callback(loaded.close)
            for index, buffer in enumerate(buffers):
                loaded.bind(index, buffer.address)
            commands = CommandQueue(file, 1)
            undo.callback(commands.close)
            commands.wait(commands.submit(loaded.entry), PATIENCE)
            (context,) = [HWCTX_ENTRY.unpack(file.get_array(ArrayParam.HW_CONTEXT_ALL, HWCTX_ENTRY.size, 8)[2])]
            self.preemptions: int = context.preemptions
            self.output: npt.NDArray[np.uint8] = buffers[OUTPUT].bytes[: GIVEN.size].copy()
            self.saved: npt.NDArray[np.uint8] = buffers[SAVED].bytes[:SCRATCH_PAD_SIZE].copy()


def held(part: int) -> slice:
    """Where quarter ``part`` of the 4096 bytes is saved."""
    return slice(part * QUARTER + PLACE, part * QUARTER + PLACE + 1024)


def test_a_preempted_program_gives_the_same_bytes(file: AccelFile, kernel: Kernel) -> None:
    free, forced = Run(file, kernel, forced=False), Run(file, kernel)
    assert (free.preemptions, forced.preemptions) == (0, 1)
    assert free.output.tobytes() == forced.output.tobytes() == GIVEN.tobytes()
    # The mem tile held the input and nothing else.
    wanted = np.zeros(SCRATCH_PAD_SIZE, np.uint8)
    for part in range(4):
        wanted[held(part)] = GIVEN[1024 * part : 1024 * (part + 1)]
    assert not free.saved.any()
    assert forced.saved.tobytes() == wanted.tobytes()


def test_what_goes_on_is_what_was_restored(file: AccelFile, kernel: Kernel) -> None:
    """A byte of the saved memory that is changed is changed in the result; so is all of it."""
    saved = Run(file, kernel).saved
    for at in (0, 1023, 1024, 4095):
        tampered = saved.copy()
        tampered[held(at // 1024).start + at % 1024] ^= 0xFF
        output = Run(file, kernel, restored=tampered).output
        assert np.flatnonzero(output != GIVEN).tolist() == [at]
    assert not Run(file, kernel, restored=np.zeros(SCRATCH_PAD_SIZE, np.uint8)).output.any()


SAVE, RESTORE = 2, 3
"""Pages of ``preempt.elf``: the program, its PDI, then the assembler's."""


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
def test_pages_that_are_tampered_with_give_other_bytes(edit: Callable[[bytes], bytes], file: AccelFile, kernel: Kernel) -> None:
    run = Run(file, replace(kernel, code=edit(kernel.code)))
    assert run.preemptions == 1
    assert run.output.tobytes() != GIVEN.tobytes()


@pytest.mark.parametrize("edit", STUCK.values(), ids=STUCK)
def test_pages_that_are_tampered_with_hang(edit: Callable[[bytes], bytes], file: AccelFile, kernel: Kernel) -> None:
    tampered = replace(kernel, code=edit(kernel.code))
    assert Run(file, tampered, forced=False).output.tobytes() == GIVEN.tobytes()
    with pytest.raises(CommandFailed, match="did not end in time"):
        Run(file, tampered)
