"""What an installed fauxdna does where nothing but its dependencies is: ``python installed.py FOLDER`` (``./dev wheel``).

A product of matrices is compiled and run on the array, by a die of its own and, where this machine lets programs be run so,
through the node that ``fauxdna exec`` shows; what comes out is compared with numpy's integers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FAUXDNA = Path(sys.executable).with_name("fauxdna")
ROWS, INNER, COLUMNS = 5, 24, 17
# Powers of two: no step of float32 rounds.
X_SCALE, W_SCALE, Y_SCALE = 1 / 16, 1 / 64, 1 / 2
X_ZERO, Y_ZERO = 120, 131


def model(weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> onnx.ModelProto:
    """y = x @ weights, quantised: uint8 activations, int8 weights."""
    constants = {
        "w": weights,
        "w_scale": np.float32(W_SCALE),
        "w_zero": np.int8(0),
        "x_scale": np.float32(X_SCALE),
        "x_zero": np.uint8(X_ZERO),
        "y_scale": np.float32(Y_SCALE),
        "y_zero": np.uint8(Y_ZERO),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"]),
        helper.make_node("MatMul", ["x_d", "w_d"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "y_scale", "y_zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (ROWS, INNER))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (ROWS, COLUMNS))]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "product", inputs, outputs, stored)
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made


def fauxdna(*arguments: object) -> None:
    """Runs the command that was installed."""
    subprocess.run([FAUXDNA, *map(str, arguments)], check=True)


def main() -> None:
    """Compile, run, compare; then the same through a node."""
    folder = Path(sys.argv[1])
    rng = np.random.default_rng(1)
    steps = rng.integers(0, 256, (ROWS, INNER))
    weights = rng.integers(-128, 128, (INNER, COLUMNS))
    exact = (steps - X_ZERO) @ weights * (X_SCALE * W_SCALE / Y_SCALE) + Y_ZERO
    expected = (np.clip(np.rint(exact), 0, 255) - Y_ZERO) * Y_SCALE
    assert len(np.unique(expected)) > ROWS * COLUMNS // 2

    onnx.save(model(weights.astype(np.int8)), folder / "model.onnx")
    np.save(folder / "x.npy", ((steps - X_ZERO) * X_SCALE).astype(np.float32))
    fauxdna("compile", "--strict", folder / "model.onnx", "--output", folder / "model.program")
    run = ["run", "--strict", folder / "model.program", "--input", folder / "x.npy", "--output", folder / "y.npy"]
    fauxdna(*run)
    assert np.array_equal(np.load(folder / "y.npy"), expected)

    (folder / "y.npy").unlink()
    if subprocess.run([FAUXDNA, "doctor"], check=False, stdout=subprocess.DEVNULL).returncode:
        print("fauxdna doctor: programs can't be run here (exec)")
        return
    fauxdna("exec", "--", FAUXDNA, *run, "--device", "/dev/accel/accel0")
    assert np.array_equal(np.load(folder / "y.npy"), expected)


if __name__ == "__main__":
    main()
