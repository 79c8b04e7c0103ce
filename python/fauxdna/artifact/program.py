"""A compiled model: ELFs for the array, ONNX models for the CPU, and what the reports say about them.

On disk a program is a directory, or one uncompressed ZIP file, of ``manifest.json`` and the files it names.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

FORMAT = 1
"""Version of the manifest."""
MANIFEST = "manifest.json"
MANIFEST_SIZE_MAX = 64 << 20
FILE_SIZE_MAX = 1 << 30


def is_program(path: str | Path) -> bool:
    """Whether ``path`` looks like a program that :meth:`Program.save` wrote."""
    path = Path(path)
    return (path / MANIFEST).is_file() if path.is_dir() else zipfile.is_zipfile(path)


class ProgramError(InvalidInput):
    """The file or directory is no program, or not one of this version."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that crosses a step's border: ONNX ``shape``, numpy ``dtype`` name, and the bytes its buffer needs."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    """Bytes of the buffer, at least the array's own, rounded up to 4."""


@dataclass(frozen=True)
class LayerInfo:
    """What one layer of an ELF is, for attribution of simulated time and traffic."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    macs: int
    jobs: int
    trace: int
    """``info`` of the TRACE operation that begins it in each column's control code. A layer without jobs of its own is part of
    the one before that has this mark."""
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True)
class ArrayStep:
    """One ELF on the array. Kernel arguments in order: inputs, outputs, then a workspace of ``workspace`` bytes."""

    name: str
    elf: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    workspace: int
    columns: int
    layers: tuple[LayerInfo, ...] = ()


@dataclass(frozen=True)
class CpuStep:
    """An ONNX model for ONNX Runtime."""

    name: str
    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Step = ArrayStep | CpuStep


@dataclass(frozen=True)
class NodePlacement:
    """Where one node of the model runs (``array`` or ``cpu``), and why."""

    name: str
    op: str
    place: str
    why: str
    macs: int = 0


@dataclass(frozen=True)
class Program:
    """Steps in execution order over tensors named once for the whole program."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    steps: tuple[Step, ...]
    nodes: tuple[NodePlacement, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def npu_mac_share(self) -> float:
        """Share of the multiply-accumulates that run on the array; 1.0 where there are none."""
        total = sum(node.macs for node in self.nodes)
        return sum(node.macs for node in self.nodes if node.place == "array") / total if total else 1.0

    def save(self, path: str | Path) -> None:
        """Writes the program: a directory where ``path`` is one or has no suffix, else one file."""
        path = Path(path)
        files = self._files()
        if path.is_dir() or not path.suffix:
            path.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                (path / name).write_bytes(data)
            return
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in files.items():
                # A fixed date: the same program gives the same bytes.
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)

    def _files(self) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        steps: list[dict[str, Any]] = []
        for index, step in enumerate(self.steps):
            entry: dict[str, Any] = {"name": step.name, "inputs": step.inputs, "outputs": step.outputs}
            if isinstance(step, ArrayStep):
                entry |= {"file": f"{index}.elf", "workspace": step.workspace, "columns": step.columns}
                entry["layers"] = [asdict(layer) for layer in step.layers]
                files[f"{index}.elf"] = step.elf
            else:
                entry["file"] = f"{index}.onnx"
                files[f"{index}.onnx"] = step.model
            steps.append(entry)
        manifest = {
            "format": FORMAT,
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "tensors": [asdict(tensor) for tensor in self.tensors.values()],
            "steps": steps,
            "nodes": [asdict(node) for node in self.nodes],
            "metadata": dict(self.metadata),
        }
        return {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(), **files}

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Reads a program that :meth:`save` wrote.

        Raises:
            ProgramError: It is none, or of another version.
            OSError: It can't be read.
        """
        path = Path(path)
        if path.is_dir():
            return cls._from_files(_Directory(path))
        try:
            with zipfile.ZipFile(path) as archive:
                return cls._from_files(_Archive(archive))
        except zipfile.BadZipFile as error:
            raise ProgramError(f"{path} is no fauxdna program: {error}; make one with `fauxdna compile`") from error

    @classmethod
    def _from_files(cls, files: _Directory | _Archive) -> Program:
        try:
            manifest = json.loads(files.read(MANIFEST, MANIFEST_SIZE_MAX))
            if manifest["format"] != FORMAT:
                raise ProgramError(f"the program has format {manifest['format']}; this version reads {FORMAT}: compile it again")
            return cls(
                name=str(manifest["name"]),
                inputs=_names(manifest["inputs"]),
                outputs=_names(manifest["outputs"]),
                tensors={str(t["name"]): _tensor(t) for t in manifest["tensors"]},
                steps=tuple(_step(entry, files) for entry in manifest["steps"]),
                nodes=tuple(NodePlacement(**node) for node in manifest["nodes"]),
                metadata={str(key): str(value) for key, value in manifest["metadata"].items()},
            )
        except ProgramError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProgramError(f"the program's {MANIFEST} is damaged ({error!r}): compile the model again") from error


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str, limit: int = FILE_SIZE_MAX) -> bytes:
        """The file ``name``, which lies directly in the directory."""
        path = self._path / name
        if Path(name).name != name or not path.is_file():
            raise ProgramError(f"{self._path} has no file {name}; it is no fauxdna program")
        if path.stat().st_size > limit:
            raise ProgramError(f"{path} has more than {limit} bytes")
        return path.read_bytes()


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def read(self, name: str, limit: int = FILE_SIZE_MAX) -> bytes:
        """The member ``name``."""
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise ProgramError(f"the program has no file {name}") from None
        if info.file_size > limit:
            raise ProgramError(f"{name} has more than {limit} bytes")
        return self._archive.read(info)


def _names(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _tensor(entry: Any) -> TensorInfo:
    return TensorInfo(str(entry["name"]), tuple(int(size) for size in entry["shape"]), str(entry["dtype"]), int(entry["size"]))


def _step(entry: Any, files: _Directory | _Archive) -> Step:
    name, inputs, outputs = str(entry["name"]), _names(entry["inputs"]), _names(entry["outputs"])
    data = files.read(str(entry["file"]))
    if "workspace" not in entry:
        return CpuStep(name, data, inputs, outputs)
    layers = tuple(LayerInfo(**{**layer, "nodes": _names(layer["nodes"])}) for layer in entry["layers"])
    return ArrayStep(name, data, inputs, outputs, int(entry["workspace"]), int(entry["columns"]), layers)
