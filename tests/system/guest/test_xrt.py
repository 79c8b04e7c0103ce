"""A whole user space in the guest: stock XRT 2.25, and fauxdna's own runtime on the real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fauxdna.compiler import compile as compile_model
from fauxdna.demo.small import SHAPE, SmallModel, graph
from fauxdna.errors import FauxdnaError
from fauxdna.vm import Machine, Settings, Share
from fauxdna.vm.programs import PROBE
from fauxdna.vm.root import TRIXIE, guest_root, own_package

PYXRT = """
import pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("/mnt/work/model.elf"))
kernel = pyxrt.ext.kernel(context, "DPU:inst0")
given = open("/mnt/work/input", "rb").read()
size = len(open("/mnt/work/output", "rb").read())
buffers = [pyxrt.ext.bo(device, n) for n in (len(given), size, int(open("/mnt/work/workspace").read()))]
buffers[0].write(given, 0)
buffers[0].sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE, len(given), 0)
run = pyxrt.run(kernel)
for index, buffer in enumerate(buffers):
    run.set_arg(index, buffer)
for _ in range(5):
    run.start()
    print(run.wait(60000))
buffers[1].sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, size, 0)
open("/mnt/work/xrt", "wb").write(bytes(buffers[1].read(size, 0)))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, small: SmallModel) -> Path:
    folder = tmp_path_factory.mktemp("work")
    for name, content in small.files().items():
        (folder / name).write_bytes(content)
    (folder / "run.py").write_text(PYXRT)
    compile_model(graph(), columns=1, strict=True).save(folder / "small.program")
    np.save(folder / "x.npy", np.frombuffer(small.input, np.float32).reshape(SHAPE))
    return folder


@pytest.fixture(scope="module")
def trixie(equipment: dict[str, dict[str, bytes]], work: Path) -> Iterator[Machine]:
    try:
        root = guest_root(TRIXIE, lambda _text: None)
    except FauxdnaError as error:
        pytest.skip(f"no trixie root for the guest: {error}")
    package, scripts = own_package()
    settings = Settings(
        vfs=1,
        root=root,
        shares=[package, Share(work, "/mnt/work")],
        programs={**scripts, PROBE: equipment["programs"][PROBE]},
    )
    with Machine(settings) as machine:
        yield machine


def test_xrt_smi_lists_the_vf(trixie: Machine) -> None:
    done = trixie.run(["xrt-smi", "examine"])
    assert done.status == 0, done.stderr
    assert "[0000:00:05.1]  |RyzenAI-npu3-vf  |aie4" in done.stdout


def test_pyxrt_gets_the_bytes_of_outside(trixie: Machine, work: Path, small: SmallModel) -> None:
    done = trixie.run(["python3", "/mnt/work/run.py"], timeout=120)
    assert done.status == 0, done.stderr
    assert done.stdout.split() == ["ert_cmd_state.ERT_CMD_STATE_COMPLETED"] * 5
    assert (work / "xrt").read_bytes() == small.output


def test_fauxdna_on_the_real_node_gets_the_bytes_of_outside(trixie: Machine, work: Path, small: SmallModel) -> None:
    command = "fauxdna run small.program --device /dev/accel/accel1 -i x.npy -o y.npy"
    done = trixie.run(f"cd /mnt/work && {command}", timeout=120)
    assert done.status == 0, done.stderr
    assert np.load(work / "y.npy").tobytes() == small.output
