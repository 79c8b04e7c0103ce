"""``fauxdna exec`` becomes the program: nothing that a program can see of its start differs, but for the NPU."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from _sandboxed import Runner

SIGNALS = ["sh", "-c", "grep -E '^Sig(Ign|Cgt|Blk)' /proc/self/status"]
STATE = """
import os, resource, sys
print(os.getcwd(), oct(os.umask(0)), sys.argv, os.getpriority(os.PRIO_PROCESS, 0), os.getuid(), os.getgid())
print([(name, resource.getrlimit(getattr(resource, name))) for name in sorted(dir(resource))
       if name.startswith("RLIMIT_") and name != "RLIMIT_MEMLOCK"])
print(sorted(os.environb.items()))
print(sorted(os.listdir("/proc/self/fd")), os.getpgid(0) == int(os.environ.get("GROUP", "0")) or "own group")
"""


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_exit_status_is_the_programs(runner: Runner, status: int) -> None:
    assert runner.run("--", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_death_by_a_signal_is_the_programs(runner: Runner, number: int) -> None:
    assert runner.run("--", "sh", "-c", f"kill -{int(number)} $$").returncode == -number


def test_standard_streams_are_the_programs(runner: Runner) -> None:
    done = runner.run("--", "sh", "-c", "cat; echo warning >&2", input="through\n")
    assert (done.stdout, done.stderr) == ("through\n", "warning\n")


def test_the_pid_stays(runner: Runner) -> None:
    with subprocess.Popen(
        runner.command("exec", "-q", "--", "sh", "-c", "echo $$"), stdout=subprocess.PIPE, text=True, env=runner.environment
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"ODD": "a=b\nc \udcff"}])
def test_start_looks_as_without(runner: Runner, locale: dict[str, str]) -> None:
    # Python adds LC_CTYPE to its own environment in the C locale, and ignores SIGPIPE.
    environment = runner.environment | locale
    command = ["/usr/bin/python3", "-c", STATE, "", "--", "\udcffodd"]
    assert (
        runner.run("--", *command, env=environment, cwd="/var").stdout
        == runner.native(*command, env=environment, cwd="/var").stdout
    )
    assert runner.run("--", *SIGNALS).stdout == runner.native(*SIGNALS).stdout


def test_open_descriptors_pass(runner: Runner) -> None:
    read, write = os.pipe()
    try:
        runner.run("--", "python3", "-c", f"import os; os.write({write}, b'inherited')", pass_fds=(write,))
        os.close(write)
        write = -1
        # That it ends shows that the die, which was started meanwhile, has not kept it.
        with os.fdopen(read, "rb", closefd=False) as stream:
            assert stream.read() == b"inherited"
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


def test_program_has_no_unknown_child(runner: Runner) -> None:
    done = runner.run("--", "python3", "-c", "import os\ntry: os.wait()\nexcept ChildProcessError: print('none')")
    assert done.stdout == "none\n"


def test_background_child_outlives_the_program(runner: Runner) -> None:
    script = "(sleep 0.3; ls /dev/accel) & exit 3"
    done = runner.run("--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (3, "accel0\n")


def test_script_without_interpreter_is_the_shells(runner: Runner) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "plain")
        path.write_text("echo $0 $1; exit 4\n")
        path.chmod(0o755)
        done = runner.run("--", str(path), "argument")
    assert (done.returncode, done.stdout) == (4, f"{path} argument\n")
