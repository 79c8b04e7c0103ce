"""An ELF of several kernels, made by AMD's aiebu-asm: copies, and what fails, hangs and takes its time."""

from __future__ import annotations

import json

from _xrt import EXAMPLES, Xrt

HEADER = ".target aie4\n.aie_row_topology 1-1-4-0\n.partition 1column\n.attach_to_group 0\n"
KERNELS = {
    "bad": "WRITE_32 0x1FFFFC, 1",  # no register of a mem tile
    "stuck": "POLL_32 0x100000, 1",  # which nobody writes
    "slow": "SLEEP 400000",  # microseconds
    "long": "SLEEP 3600000000",
}


def assemble_kernels(xrt: Xrt) -> bytes:
    """An ELF of several kernels by aiebu-asm, ``many.elf``: two instances of a copy, and what ``KERNELS`` says."""
    copy = (EXAMPLES / "control_code" / "copy.asm").read_text().replace("3column", "1column")
    xrt.add("copy.asm", copy)
    for name, text in KERNELS.items():
        xrt.add(f"{name}.asm", f"{HEADER}START_JOB 0\n  {text}\nEND_JOB\nEOF\n")
    kernels = [_kernel("copy", 2, "one", "two"), *(_kernel(name, 1, "inst0") for name in KERNELS)]
    xrt.add("config.json", json.dumps({"xrt-kernels": kernels}))
    xrt.run("aiebu-asm", "-t", "aie4_config", "-j", "config.json", "-o", "many.elf", "-f", "disabledump")
    return xrt.read("many.elf")


def _kernel(name: str, arguments: int, *instances: str) -> dict[str, object]:
    described = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(arguments)]
    return {
        "name": name,
        "arguments": described,
        "instance": [{"id": each, "ctrl_code_file": f"{name}.asm"} for each in instances],
    }
