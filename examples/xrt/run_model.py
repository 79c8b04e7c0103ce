"""Run a model that `fauxdna compile` made through XRT, with nothing of fauxdna in this program.

    fauxdna compile model.int8.onnx --strict --output model.program
    fauxdna exec -- python3 examples/xrt/run_model.py model.program --input x=x.bin --output y=y.bin

Files hold raw bytes, as those of `fauxdna run` whose names do not end in .npy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import pyxrt

KERNEL = "DPU:inst0"
TO_DEVICE = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
FROM_DEVICE = pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE


def load(path: Path) -> tuple[dict, dict, pyxrt.elf]:
    """Tensors, the only step, and its ELF, of a program: a directory or a ZIP file of manifest.json and what it names."""
    with tempfile.TemporaryDirectory() as folder:
        if not path.is_dir():
            zipfile.ZipFile(path).extractall(folder)
            path = Path(folder)
        manifest = json.loads((path / "manifest.json").read_text())
        steps = manifest["steps"]
        if len(steps) != 1 or "workspace" not in steps[0]:
            sys.exit(f"{manifest['name']} has {len(steps)} steps; XRT alone runs a program whose only step is on the array")
        return {tensor["name"]: tensor for tensor in manifest["tensors"]}, steps[0], pyxrt.elf(str(path / steps[0]["file"]))


def files(items: list[str], names: list[str]) -> dict[str, Path]:
    """NAME=FILE arguments by name."""
    chosen = {name: Path(file) for name, _, file in (item.partition("=") for item in items)}
    unknown = set(chosen) - set(names)
    if unknown:
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return chosen


def main() -> None:
    """Binds a buffer to each argument (inputs, outputs, workspace), runs once, writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--output", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--device", type=int, default=0)
    arguments = parser.parse_args()
    tensors, step, elf = load(arguments.program)
    sources, targets = files(arguments.input, step["inputs"]), files(arguments.output, step["outputs"])

    device = pyxrt.device(arguments.device)
    context = pyxrt.hw_context(device, elf)
    kernel = pyxrt.ext.kernel(context, KERNEL)
    sizes = [tensors[name]["size"] for name in (*step["inputs"], *step["outputs"])] + [max(step["workspace"], 4)]
    buffers = [pyxrt.ext.bo(device, size) for size in sizes]
    for name, buffer in zip(step["inputs"], buffers, strict=False):
        data = sources[name].read_bytes() if name in sources else bytes(buffer.size())
        buffer.map()[: len(data)] = data
        buffer.sync(TO_DEVICE)

    run = pyxrt.run(kernel)
    for index, buffer in enumerate(buffers):
        run.set_arg(index, buffer)
    run.start()
    state = run.wait()
    if state != pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED:
        sys.exit(f"the run ended as {state}")

    for name, buffer in zip(step["outputs"], buffers[len(step["inputs"]) :], strict=False):
        buffer.sync(FROM_DEVICE)
        tensor = tensors[name]
        data = bytes(buffer.map())[: length(tensor)]
        print(f"{name}: {len(data)} bytes of {tensor['dtype']} {tensor['shape']}, SHA-256 {hashlib.sha256(data).hexdigest()}")
        if name in targets:
            targets[name].write_bytes(data)


def length(tensor: dict) -> int:
    """Bytes of the array itself; its buffer is rounded up."""
    bits = int("".join(filter(str.isdigit, tensor["dtype"])) or "8")
    total = bits // 8
    for size in tensor["shape"]:
        total *= size
    return total


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:  # what XRT throws
        sys.exit(f"XRT: {str(error).strip()}")
