"""``fauxdna doctor``."""

from __future__ import annotations

import json
import subprocess

from _sandboxed import Runner


def doctor(runner: Runner, *outer: str) -> tuple[int, dict[str, dict[str, object]]]:
    command = runner.command("doctor", "--json")
    command = [*runner.prefix, *outer, *command[len(runner.prefix) :]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=runner.environment, timeout=60)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_it_agrees_with_exec(runner: Runner) -> None:
    """These tests run programs, so everything that exec needs is there."""
    status, checks = doctor(runner)
    assert status == 0
    assert all(check["ok"] for check in checks.values() if check["required"])
    assert all(check["remedy"] for check in checks.values() if not check["ok"])


def test_a_low_limit_is_named(user: Runner) -> None:
    status, checks = doctor(user, "prlimit", "--memlock=65536:65536")
    assert status == 0
    assert not checks["locked memory"]["ok"]
    assert checks["locked memory"]["found"] == "64 KiB"


def test_what_exec_can_not_do_without(runner: Runner) -> None:
    """Inside a sandbox no other listener can be made."""
    command = runner.command("doctor", "--json")[len(runner.prefix) :]
    done = runner.run("--", *command)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert not checks["seccomp notification"]["ok"]
    assert "one listener" in checks["seccomp notification"]["found"]
