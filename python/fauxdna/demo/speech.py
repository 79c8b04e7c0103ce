"""Marks speech in a WAV file with Silero's voice activity model."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InvalidArgument
from .models import SPEECH, locate
from .prepare import Feed, Progress, prepare

if TYPE_CHECKING:
    from ..runtime import Npu, Report

RATE = 16000
FRAME = 512
CONTEXT = 64
"""Samples of the frame before that each frame starts with (silero-vad's own framing)."""
FRAMES = 32
"""Frames in one run of the model."""
SHAPES = {"input": (FRAMES, CONTEXT + FRAME), "h": (1, 1, 128), "c": (1, 1, 128)}
THRESHOLD = 0.5
MINIMUM_SILENCE = 0.1
"""Seconds; shorter gaps belong to the speech around them."""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech, in seconds."""

    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """What was heard: segments, the probability of every frame (32 ms each), and the report of the last run."""

    segments: tuple[Segment, ...]
    probabilities: npt.NDArray[np.float32]
    report: Report


def load_wav(path: Path) -> npt.NDArray[np.float32]:
    """Mono float32 samples in -1..1 of a 16-bit, 16 kHz WAV file; ``InvalidArgument`` says what else was found."""
    try:
        with wave.open(str(path)) as file:
            if (file.getsampwidth(), file.getframerate()) != (2, RATE):
                raise InvalidArgument(
                    f"{path} has {8 * file.getsampwidth()} bits at {file.getframerate()} Hz, the model takes 16 at {RATE} Hz",
                    f"convert it with: sox {path} -b 16 -r {RATE} out.wav",
                )
            data = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    except (wave.Error, EOFError) as error:
        raise InvalidArgument(
            f"{path} is not a WAV file this demo can read: {str(error) or 'it ends too early'}",
            f"convert it with: sox IN -b 16 -r {RATE} out.wav",
        ) from error
    samples: npt.NDArray[np.float32] = data.mean(axis=1, dtype=np.float32) / np.float32(32768)
    return samples


def frames(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``samples`` as overlapping frames float32 [runs, FRAMES, CONTEXT + FRAME], the end padded with silence."""
    runs = max(1, -(-len(samples) // (FRAME * FRAMES)))
    padded = np.zeros(CONTEXT + runs * FRAMES * FRAME, np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
    return np.ascontiguousarray(windows.reshape(runs, FRAMES, CONTEXT + FRAME))


def sample_wav() -> Path:
    """The synthetic speech that comes with this package."""
    return Path(__file__).parent / "speech.wav"


def _state() -> npt.NDArray[np.float32]:
    return np.zeros((1, 1, 128), np.float32)


def calibration_speech() -> Iterator[Feed]:
    """The sample at three loudnesses, and noise."""
    samples = load_wav(sample_wav())
    noise = np.random.default_rng(0).normal(0, 0.02, len(samples)).astype(np.float32)
    for signal in (samples, samples * np.float32(0.3), samples * np.float32(0.6) + noise, noise):
        for run in frames(signal):
            yield {"input": run, "h": _state(), "c": _state()}


def mark_speech(npu: Npu, samples: npt.NDArray[np.float32], *, progress: Progress) -> Speech:
    """Speech in ``samples`` (float32, 16 kHz)."""
    program = prepare(
        locate(SPEECH),
        calibration_speech,
        SHAPES,
        strict=False,
        progress=progress,
    )
    hidden, cell = _state(), _state()
    heard = []
    runs = frames(samples)
    with npu.context(program) as context:
        for index, run in enumerate(runs):
            progress(f"listening, run {index + 1} of {len(runs)}")
            outputs = context.run({"input": run, "h": hidden, "c": cell})
            hidden, cell = outputs["hn"], outputs["cn"]
            heard.append(outputs["speech_probs"].reshape(-1))
        report = context.report
    probabilities = np.concatenate(heard)[: -(-len(samples) // FRAME)].astype(np.float32)
    return Speech(tuple(segments(probabilities)), probabilities, report)


def segments(probabilities: npt.NDArray[np.float32]) -> Iterator[Segment]:
    """Stretches of frames above the threshold, gaps shorter than the minimum silence closed."""
    speaking = probabilities >= THRESHOLD
    edges = np.flatnonzero(np.diff(np.concatenate(([False], speaking, [False])).astype(np.int8)))
    merged: list[list[int]] = []
    for start, end in edges.reshape(-1, 2):
        if merged and (start - merged[-1][1]) * FRAME < MINIMUM_SILENCE * RATE:
            merged[-1][1] = int(end)
        else:
            merged.append([int(start), int(end)])
    for start, end in merged:
        yield Segment(start * FRAME / RATE, end * FRAME / RATE)
