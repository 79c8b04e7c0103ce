"""Recipe and profile of AMD's xrt-runner for a model's ELF: what to run, and on which files."""

from __future__ import annotations

import json

from _xrt import Xrt

from fauxdna.artifact.program import ArrayStep

RUNNER = ("xrt-runner", "--recipe", "recipe.json", "--profile", "profile.json")


def write_recipe(xrt: Xrt, step: ArrayStep, x: int, y: int, *, iterations: int) -> None:
    """Runs of ``model.elf`` on ``x.bin`` of ``x`` bytes, each validated against the ``y`` bytes of ``golden.bin``."""
    buffers = [("x", "input", x), ("y", "output", y), ("work", "internal", step.workspace)]
    recipe = {
        "version": "1.0",
        "header": {"programs": ["model.elf"]},
        "resources": {
            "buffers": [{"name": name, "type": kind, "size": size} for name, kind, size in buffers],
            "kernels": [{"name": "k", "instance": "DPU:inst0"}],
        },
        "execution": {"runs": [{"name": "k", "arguments": [{"name": b[0], "argidx": at} for at, b in enumerate(buffers)]}]},
    }
    profile = {
        "version": "1.0",
        "bindings": [
            {"name": "x", "size": x, "init": {"file": "x.bin"}},
            {"name": "y", "size": y, "validate": {"file": "golden.bin"}},
        ],
        "execution": {"iterations": iterations, "iteration": {"wait": True, "validate": True}},
    }
    xrt.add("model.elf", step.elf)
    xrt.add("recipe.json", json.dumps(recipe))
    xrt.add("profile.json", json.dumps(profile))
