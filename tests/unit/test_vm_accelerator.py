"""Whether a guest runs under KVM: with /dev/kvm there, not there, closed to this user, or there and useless."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _patience import PATIENCE

from fauxdna.errors import Unsupported
from fauxdna.vm import Accelerator, accelerator
from fauxdna.vm.kernel import Kernel
from fauxdna.vm.modules import ModuleTree
from fauxdna.vm.qemu import Qemu

KERNEL = Kernel(Path("/none"), "7.2.0", ModuleTree(None))
PANICS, SILENT, HANGS = "echo Kernel panic - not syncing", "true", "exec sleep 60"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /dev/kvm; the test makes it, or not."""
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "_DEVICE", tmp_path / "kvm")
    return tmp_path / "kvm"


def qemu(folder: Path, does: str) -> Qemu:
    """A QEMU that does something else, and counts how often it was started."""
    program = folder / "qemu"
    program.write_text(f"#!/bin/sh\necho started >> {folder}/starts\n{does}\n")
    program.chmod(0o755)
    return Qemu((str(program),), (11, 1, 3))


def test_without_the_device_there_is_no_kvm(device: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert accelerator.choose(Accelerator.AUTO, qemu(tmp_path, PANICS), KERNEL, said.append) is Accelerator.TCG
    assert said == []
    with pytest.raises(Unsupported, match="there is none; use --accel tcg"):
        accelerator.choose(Accelerator.KVM, qemu(tmp_path, PANICS), KERNEL, said.append)


def test_a_user_who_may_not_open_it_is_told(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # As root all may be opened.
    said: list[str] = []
    assert accelerator.choose(Accelerator.AUTO, qemu(tmp_path, PANICS), KERNEL, said.append) is Accelerator.TCG
    assert said == [f"this user may not open {device} (group kvm): without KVM it is slower"]
    with pytest.raises(Unsupported, match="this user may not open it; use --accel tcg, or join the group kvm"):
        accelerator.choose(Accelerator.KVM, qemu(tmp_path, PANICS), KERNEL, said.append)


@pytest.mark.parametrize(("does", "chosen"), [(PANICS, Accelerator.KVM), (SILENT, Accelerator.TCG), (HANGS, Accelerator.TCG)])
def test_a_trial_tells_once_whether_it_works(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, chosen: Accelerator
) -> None:
    device.touch()
    monkeypatch.setattr(accelerator, "_TRIAL_SECONDS", 0.5 if does == HANGS else PATIENCE)
    for _ in range(2):
        assert accelerator.choose(Accelerator.AUTO, qemu(tmp_path, does), KERNEL, lambda text: None) is chosen
    if does != HANGS:  # It may be ended before it counts.
        assert (tmp_path / "starts").read_text() == "started\n"


def test_a_cache_that_takes_no_verdict_costs_another_trial(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device.touch()
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(accelerator, "_TRIAL_SECONDS", PATIENCE)
    for count in (1, 2):
        assert accelerator.choose(Accelerator.AUTO, qemu(tmp_path, PANICS), KERNEL, lambda text: None) is Accelerator.KVM
        assert (tmp_path / "starts").read_text() == "started\n" * count


def test_tcg_asks_nobody(device: Path, tmp_path: Path) -> None:
    device.touch()
    assert accelerator.choose(Accelerator.TCG, qemu(tmp_path, HANGS), KERNEL, pytest.fail) is Accelerator.TCG
