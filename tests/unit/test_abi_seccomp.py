"""abi.seccomp against a C compile of this system's headers."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fauxdna.abi import linux, seccomp
from fauxdna.abi._declare import Struct
from fauxdna.host import _filter

STRUCTS = {value.name: value for value in vars(seccomp).values() if isinstance(value, Struct)}
MACROS = {
    "PR_SET_NO_NEW_PRIVS": seccomp.PR_SET_NO_NEW_PRIVS,
    "__NR_seccomp": seccomp.SYS_SECCOMP,
    "__NR_ioctl": seccomp.SYS_IOCTL,
    "SECCOMP_SET_MODE_FILTER": seccomp.SET_MODE_FILTER,
    "SECCOMP_GET_NOTIF_SIZES": seccomp.GET_NOTIF_SIZES,
    "AUDIT_ARCH_X86_64": seccomp.AUDIT_ARCH_X86_64,
    "SECCOMP_FILTER_FLAG_NEW_LISTENER": seccomp.FilterFlag.NEW_LISTENER,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": seccomp.FilterFlag.WAIT_KILLABLE_RECV,
    "SECCOMP_RET_USER_NOTIF": seccomp.Return.USER_NOTIF,
    "SECCOMP_RET_ALLOW": seccomp.Return.ALLOW,
    "(BPF_LD | BPF_W | BPF_ABS)": seccomp.Bpf.LOAD_WORD,
    "(BPF_ALU | BPF_AND | BPF_K)": seccomp.Bpf.AND,
    "(BPF_JMP | BPF_JEQ | BPF_K)": seccomp.Bpf.JUMP_EQUAL,
    "(BPF_RET | BPF_K)": seccomp.Bpf.RETURN,
}
HEADERS = ("stdio.h", "stddef.h", "linux/seccomp.h", "linux/filter.h", "linux/audit.h", "sys/prctl.h", "asm/unistd.h")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the compiler says of every size, offset and macro."""
    if shutil.which("gcc") is None or not Path("/usr/include/linux/seccomp.h").exists():
        pytest.skip("needs gcc and linux/seccomp.h (apt install gcc linux-libc-dev)")
    folder = tmp_path_factory.mktemp("seccomp")
    lines = [f'printf("%s %llu\\n", "{name}", (unsigned long long)sizeof(struct {name}));' for name in STRUCTS]
    lines += [
        f'printf("%s %llu\\n", "{name}.{field}", (unsigned long long)offsetof(struct {name}, {field}));'
        for name, struct in STRUCTS.items()
        for field in struct.offsets
        if field != "pad"
    ]
    # The value goes last, as two of the keys have spaces.
    lines += [f'printf("%s %llu\\n", "{name}", (unsigned long long)({name}));' for name in MACROS]
    source = "".join(f"#include <{name}>\n" for name in HEADERS) + "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n"
    (folder / "print.c").write_text(source)
    subprocess.run(["gcc", "-o", folder / "print", folder / "print.c"], check=True)
    text = subprocess.run([folder / "print"], check=True, capture_output=True, text=True).stdout
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in text.splitlines()}


@pytest.mark.parametrize("name", STRUCTS)
def test_structures(compiled: dict[str, int], name: str) -> None:
    assert STRUCTS[name].size == compiled[name]
    for field, offset in STRUCTS[name].offsets.items():
        if field != "pad":
            assert offset == compiled[f"{name}.{field}"], field


@pytest.mark.parametrize("name", MACROS)
def test_values(compiled: dict[str, int], name: str) -> None:
    assert MACROS[name] == compiled[name]


def test_the_filters_offsets_are_the_structures() -> None:
    assert seccomp.DATA.offsets["nr"] == linux.SECCOMP_DATA_NR
    assert seccomp.DATA.offsets["arch"] == linux.SECCOMP_DATA_ARCH
    assert seccomp.DATA.offsets["args"] == linux.SECCOMP_DATA_ARGUMENTS
    assert struct.calcsize(_filter._INSTRUCTION) == seccomp.BPF_INSTRUCTION.size
    assert struct.calcsize(_filter._PROGRAM) == seccomp.BPF_PROGRAM.size
