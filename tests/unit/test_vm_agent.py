"""The host's end of the guest's ports, against the guest's own loop run by this machine's shell."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from _patience import PATIENCE

import fauxdna.vm.agent as agent_module
from fauxdna.vm import GuestTimeout
from fauxdna.vm.agent import Agent, Ended


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    init = (files("fauxdna.vm") / "guest" / "init").read_text()
    functions = re.findall(r"^(?:say|phase|execute|serve)\(\) \{.*?^\}", init, re.MULTILINE | re.DOTALL)
    assert len(functions) == 4
    agent = Agent()
    ends = agent.guest_ends
    prologue = f"ROOT=; CONTROL=yes; SCRIPT={tmp_path}/script\n"
    loop = "phase mounted; say problem a thing is missing; phase ready; serve\n"
    script = tmp_path / "init"
    script.write_text("\n".join([prologue, *functions, loop]))
    numbers = [end.fileno() for end in ends.values()]
    # bash, because a plain shell takes descriptors of one digit only.
    redirected = "exec 3<&{} 4>&{} 5>&{}; exec sh {}".format(*numbers, script)
    shell = subprocess.Popen(["bash", "-c", redirected], pass_fds=numbers)
    agent.started()
    yield agent
    agent.close()
    shell.kill()
    shell.wait()


def test_boot_phases_and_problems_are_told(agent: Agent) -> None:
    boot = agent.wait_ready(time.monotonic(), PATIENCE)
    assert list(boot.phases) == ["mounted", "ready"]
    assert boot.problems == ["a thing is missing"]


def test_output_and_status_come_apart(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    done = agent.run("echo out; echo err >&2; exit 7", PATIENCE)
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_arguments_are_kept_as_they_are(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    words = ["a b", "'", '"', "$HOME", "line\nbreak", "\\", "", "é"]
    assert agent.run(["printf", "%s|", *words], PATIENCE).stdout == "|".join(words) + "|"


def test_many_bytes_reach_a_sink_unchanged(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    content = os.urandom(1 << 20)
    file = Path(f"/dev/shm/{os.getpid()}.random")
    file.write_bytes(content)
    received = bytearray()
    try:
        assert agent.run(["cat", str(file)], PATIENCE, stdout=received.extend).status == 0
    finally:
        file.unlink()
    assert received == content


def test_output_that_looks_like_the_mark_is_output(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    text = "\x1e0123456789abcdef\x1e\x1e"
    assert agent.run(["printf", "%s", text], PATIENCE).stdout == text


def test_a_command_reads_nothing_of_what_comes_next(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    assert agent.run("cat", PATIENCE).stdout == ""
    assert agent.run("echo next", PATIENCE).stdout == "next\n"


def test_a_signal_shows_in_the_status(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    assert agent.run("kill -9 $$", PATIENCE).status == 128 + 9


def test_a_command_that_does_not_end_is_a_timeout(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    with pytest.raises(GuestTimeout, match=r"after 0\.1 s the guest still runs sleep 2"):
        agent.run("sleep 2", 0.1)


def test_a_command_that_never_stops_printing_is_a_timeout(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    printed: list[bytes] = []
    # By this clock time passes as it prints, however late it begins.
    monkeypatch.setattr(agent_module, "time", SimpleNamespace(monotonic=lambda: len(printed) * PATIENCE / 3))
    with pytest.raises(GuestTimeout, match="still runs yes"):
        agent.run("yes", PATIENCE, stdout=printed.append)
    assert printed


def test_a_guest_that_ends_is_noticed(agent: Agent) -> None:
    agent.wait_ready(time.monotonic(), PATIENCE)
    with pytest.raises(Ended):
        agent.run("kill -9 $PPID", PATIENCE)
