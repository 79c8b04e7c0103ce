"""The examples run as their first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "shown"), [("packet_by_hand.py", "completion word 0x4\n"), ("run_a_model.py", "Conv")], ids=lambda value: value[:6]
)
def test_an_example_runs(name: str, shown: str) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert not done.stderr
