"""The demo models through the whole line, held against ONNX Runtime: the same int8 graph, and what the float32 model finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from _models import Array, Made, make, session
from _trixie import TrixieRoot, our_operations

import fauxdna
from fauxdna import _core
from fauxdna.artifact.program import ArrayStep
from fauxdna.demo import files, ocr, speech
from fauxdna.demo.catalogue import CATALOGUE
from fauxdna.demo.text_boxes import decode, intersection_over_union, letterbox, normalise
from fauxdna.runtime import Npu

pytestmark = pytest.mark.models
SIGNAL_TO_NOISE_DB = 40
ARRAY_SHARE = 0.95


@pytest.fixture(scope="module", params=list(CATALOGUE))
def made(request: pytest.FixtureRequest) -> Made:
    return make(request.param)


@pytest.fixture(scope="module")
def npu() -> Iterator[Npu]:
    with fauxdna.open() as npu:
        yield npu


def signal_to_noise_db(reference: Array, value: Array) -> float:
    """10 log10 of the reference's power over the difference's."""
    exact = reference.astype(np.float64)
    noise = np.square(exact - value.astype(np.float64)).sum()
    return float("inf") if noise == 0 else float(10 * np.log10(np.square(exact).sum() / noise))


def test_outputs_are_those_of_onnxruntime(npu: Npu, made: Made) -> None:
    feed = made.feed()
    with npu.context(made.program) as context:
        outputs = context.run(feed)
    for name, expected in zip(made.program.outputs, made.reference(feed), strict=True):
        assert signal_to_noise_db(expected, outputs[name]) >= SIGNAL_TO_NOISE_DB


def test_the_array_does_the_work(made: Made) -> None:
    share = _share_on_array(made)
    assert share == pytest.approx(made.program.npu_mac_share, abs=0.01)
    if made.entry.strict:
        assert share == 1
        (step,) = made.program.steps
        assert isinstance(step, ArrayStep)
        assert all(node.place != "cpu" for node in made.program.nodes)
    elif made.entry is not CATALOGUE["silero"]:
        assert share >= ARRAY_SHARE


def test_every_instruction_set_gives_the_same_bytes(tmp_path: Path) -> None:
    model = make("cls_mobile")
    model.program.save(tmp_path / "cls.program")
    np.save(tmp_path / "x.npy", model.feed()["x"])
    seen = set()
    for level in _core.simd_levels():
        files = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.bin"]
        command = [sys.executable, "-m", "fauxdna", "run", tmp_path / "cls.program", *files, "--json"]
        done = subprocess.run(command, env=os.environ | {"FAUXDNA_SIMD": level}, capture_output=True, check=True, timeout=600)
        seen.add(((tmp_path / "y.bin").read_bytes(), json.loads(done.stdout)["simulated_ns"]))
    assert len(seen) == 1


@pytest.mark.trixie
@pytest.mark.parametrize("name", ["cls_mobile", "det_small"])
def test_aiebu_dump_reads_the_elf(trixie_root: TrixieRoot, tmp_path: Path, name: str) -> None:
    (step,) = make(name).program.steps
    assert isinstance(step, ArrayStep)
    assert trixie_root.operations(step.elf, tmp_path) == our_operations(step.elf)


@pytest.mark.trixie
def test_stock_xrt_parses_the_elf(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    if not (trixie_root.path / "usr/lib/python3/dist-packages/pyxrt.pyi").exists():
        pytest.skip("the trixie root has no python3-xrt; run ./dev root again")
    (step,) = make("det_small").program.steps
    assert isinstance(step, ArrayStep)
    assert trixie_root.xrt_takes(step.elf, tmp_path) == ""
    # Section names say uC and page; XRT reads them.
    damaged = step.elf.replace(b".ctrltext.0.0", b".ctrltext.9.z", 1)
    assert "section name" in trixie_root.xrt_takes(damaged, tmp_path)


def _share_on_array(made: Made) -> float:
    """Multiply-accumulates of convolutions and products, counted from the ONNX graph's own shapes; LSTMs from their weights."""
    model = onnx.shape_inference.infer_shapes(made.graph, data_prop=True)
    shapes = {
        value.name: tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    places = {node.name: node.place for node in made.program.nodes}
    total = on_array = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            macs = prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type == "ConvTranspose":
            macs = prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type == "MatMul":
            macs = prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        elif node.op_type == "LSTM":
            steps, batch = shapes[node.input[0]][:2]
            macs = steps * batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))
        else:
            continue
        total += macs
        on_array += macs if places[node.name] != "cpu" else 0
    return on_array / total


def test_detection_finds_the_lines_that_float32_finds(npu: Npu) -> None:
    model = make("det_small")
    found = []
    with npu.context(model.program) as context:
        for name in ("page.png", "text.png"):
            image = ocr.load_image(ocr.sample_page().with_name(name))
            canvas, scale = letterbox(image, ocr.DETECTOR_SIZE)
            feed = {"x": normalise(canvas)}
            ours = decode(context.run(feed)["fetch_name_0"][0, 0].astype(np.float32), scale, image.shape)
            float32 = decode(model.original(feed)[0][0, 0].astype(np.float32), scale, image.shape)
            assert float32
            found += [max((intersection_over_union(box, other) for other in ours), default=0.0) for box in float32]
    assert np.mean(np.array(found) > 0.5) >= 0.9, "recall at IoU 0.5"
    assert np.mean(found) >= 0.8, "mean IoU"


def test_the_page_is_read(npu: Npu) -> None:
    page = ocr.read_page(npu, ocr.load_image(ocr.sample_page()), progress=lambda _: None)
    text = " ".join(line.text for line in page.lines).replace(" ", "")
    for words in ("Region-basedsegmentation", "markersofthecoins", "background", "unambiguously", "histogramofgreyvalues"):
        assert words in text


def test_file_types_are_those_that_float32_names(npu: Npu) -> None:
    model = make("magika")
    labels = files.labels()
    paths = files.sample_files()
    named = [item.label for item in files.name_types(npu, paths, progress=lambda _: None)]
    float32 = [labels[int(model.original({"bytes": files.features(path.read_bytes())})[0].argmax())] for path in paths]
    assert named == float32
    assert named[0] == "python"


def test_speech_is_where_float32_hears_it(npu: Npu) -> None:
    model = make("silero")
    samples = speech.load_wav(speech.sample_wav())
    heard = speech.mark_speech(npu, samples, progress=lambda _: None)
    float32_model = session(str(model.path))
    hidden = cell = np.zeros((1, 1, 128), np.float32)
    probabilities = []
    for run in speech.frames(samples):
        part, hidden, cell = float32_model.run(None, {"input": run, "h": hidden, "c": cell})
        probabilities.append(part.reshape(-1))
    float32 = np.concatenate(probabilities)[: len(heard.probabilities)] >= speech.THRESHOLD
    agree = np.mean((heard.probabilities >= speech.THRESHOLD) == float32)
    assert agree >= 0.95
    assert len(heard.segments) == len(list(speech.segments(float32.astype(np.float32)))) == 2
