"""The command line: what each command prints, its JSON keys, and what it says of mistakes."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from _program import expected, program, sample

from fauxdna.artifact.program import ArrayStep

COMMANDS = [
    ["run"],
    ["exec"],
    ["serve"],
    ["doctor"],
    ["compile"],
    ["quantize"],
    ["disasm"],
    ["info"],
    ["bench"],
    ["smi"],
    ["smi", "set"],
    ["smi", "validate-archive"],
    ["demo"],
    ["demo", "ocr"],
    ["demo", "files"],
    ["demo", "speech"],
    ["firmware"],
    ["firmware", "build"],
    ["firmware", "verify"],
]


def fauxdna(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own; nothing may end in a traceback."""
    command = [sys.executable, "-m", "fauxdna", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    return done


def as_json(*arguments: object) -> Any:
    return json.loads(fauxdna(*arguments, "--json").stdout)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A small compiled program: an int8 matrix product."""
    path = tmp_path / "product.program"
    program(1).save(path)
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    text = fauxdna(*command, "--help").stdout
    assert re.search("Examples?: fauxdna " + " ".join(command), " ".join(text.split()))


def test_run_writes_what_the_array_computed(stored: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", sample(3))
    document = as_json("run", stored, "--input", f"x={tmp_path / 'x.npy'}", "--output", f"y={tmp_path / 'y.npy'}")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected(sample(3)))
    assert {"npu_mac_share", "simulated_ns", "energy_uj", "wall_ms", "nodes"} <= document.keys()
    assert all({"name", "op", "place", "why"} <= node.keys() for node in document["nodes"])
    # Raw bytes in, raw bytes out; one input needs no name.
    (tmp_path / "x.bin").write_bytes(sample(3).tobytes())
    fauxdna("run", stored, "--input", tmp_path / "x.bin", "--output", tmp_path / "y.bin")
    assert (tmp_path / "y.bin").read_bytes() == expected(sample(3)).tobytes()


def test_a_trace_is_written(stored: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", sample(0))
    fauxdna("run", stored, "--input", tmp_path / "x.npy", "--trace", tmp_path / "trace")
    kinds = {line.split()[1] for line in (tmp_path / "trace").read_text().splitlines()}
    assert {"packet", "uc", "dma", "core", "lock"} <= kinds


def test_the_log_tells_of_the_bring_up(tmp_path: Path) -> None:
    text = fauxdna("info", "--log").stdout
    for step in ("psp: VALIDATE: ok", "psp: START: ok", "CREATE_VFS: ok", "CREATE_PARTITION: ok"):
        assert step in text


def test_an_elf_runs_with_buffers_from_files(tmp_path: Path) -> None:
    (step,) = program(1).steps
    assert isinstance(step, ArrayStep)
    (tmp_path / "product.elf").write_bytes(step.elf)
    (tmp_path / "x.bin").write_bytes(sample(1).tobytes())
    size = expected(sample(1)).nbytes
    workspace = step.workspace
    inputs = ["--input", tmp_path / "x.bin", "--input", f"zeros:{size}", "--input", f"zeros:{workspace}"]
    fauxdna("run", tmp_path / "product.elf", *inputs, "--output", f"1={tmp_path / 'y.bin'}")
    assert (tmp_path / "y.bin").read_bytes() == expected(sample(1)).tobytes()


def test_disassembly_shows_control_code_and_tile_programs(stored: Path) -> None:
    text = fauxdna("disasm", stored).stdout
    for word in ("START_JOB", "WAIT_TCTS", "CONV2D", "ACQUIRE", "shim_bd", "tile_conv2d"):
        assert word in text
    assert "WAIT_TCTS" in " ".join(as_json("disasm", stored)["product"])


def test_firmware_is_built_and_verified(tmp_path: Path) -> None:
    built = as_json("firmware", "build", tmp_path)["images"]
    assert set(built) == {"npu.dev.sbin", "cert.dev.sbin"}
    image = tmp_path / "npu.dev.sbin"
    fauxdna("firmware", "verify", image)
    damaged = bytearray(image.read_bytes())
    damaged[-1] ^= 1
    image.write_bytes(damaged)
    assert "signature" in fauxdna("firmware", "verify", image, status=1).stderr


def test_quantize_then_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 4, 3, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "conv",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 12, 12])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 12, 12])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "conv.onnx")
    (tmp_path / "samples").mkdir()
    for index in range(8):
        np.save(tmp_path / "samples" / f"{index}.npy", rng.normal(size=(1, 4, 12, 12)).astype(np.float32))
    message = fauxdna("run", tmp_path / "conv.onnx", status=1).stderr
    assert "fauxdna quantize" in message
    fauxdna("quantize", tmp_path / "conv.onnx", "--calibration", tmp_path / "samples")
    document = as_json("run", tmp_path / "conv.int8.onnx", "--strict", "--input", tmp_path / "samples" / "0.npy")
    assert document["npu_mac_share"] == 1
    assert document["outputs"]["y"]["shape"] == [1, 8, 12, 12]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "{stored}", "--input", "z=x.npy"], "names none of: x"),
        (["run", "{stored}", "--input", "x=missing.npy"], "missing.npy"),
        (["run", "{stored}"], "x"),
        (["run", "{text}"], "is not an ONNX model"),
        (["disasm", "{text}"], "ELF"),
        (["run", "{stored}", "--device", "/dev/null"], "/dev/null"),
        (["demo", "speech", "{text}"], "not a WAV file"),
        (["demo", "ocr", "{text}"], "no picture"),
        (["demo", "ocr", "{bomb}"], "no picture"),
        (["run", "{elf}", "--input", "zeros:abc"], "no buffer"),
        (["run", "{elf}", "--input", "zeros:-5"], "no buffer"),
        (["run", "{elf}", "--input", "zeros:99999999999999"], "no buffer"),
        (["run", "{stored}", "--input", "{samples}/bad.npy"], "no float32 array"),
        (["quantize", "{text}", "--calibration", "{samples}"], "not an ONNX model"),
        (["quantize", "{model}", "--calibration", "{samples}"], "no arrays"),
        (["firmware", "verify", "{text}"], "cut short"),
        (["firmware", "build", "{samples}", "--key", "{text}"], "PEM"),
    ],
)
def test_mistakes_are_named(stored: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("not a model")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "bad.npy").write_text("no array")
    # A PNG that says it has 60000 x 60000 pixels.
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"0"), b"IEND")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [[onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4])] for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([relu], "relu", *ends)), tmp_path / "relu.onnx")
    (step,) = program(1).steps
    assert isinstance(step, ArrayStep)
    (tmp_path / "product.elf").write_bytes(step.elf)
    places = {"stored": stored, "text": text, "samples": tmp_path / "samples", "bomb": tmp_path / "bomb.png"}
    places |= {"model": tmp_path / "relu.onnx", "elf": tmp_path / "product.elf"}
    done = fauxdna(*(item.format(**places) for item in arguments), status=1)
    assert says in done.stderr
    assert done.stderr.count("\n") <= 3


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--fault", "fire", "--", "true"], "choose one of firmware-tampered"),
        (["--fault", "lost-interrupt:vector=9", "--", "true"], "give a number from 0 to 7"),
        (["--junit", "report.xml", "--", "true"], "leave the command, --root and --fault away"),
    ],
)
def test_vm_refuses_what_no_guest_can_be_before_it_fetches_anything(arguments: list[str], remedy: str) -> None:
    assert remedy in fauxdna("vm", *arguments, status=1).stderr
