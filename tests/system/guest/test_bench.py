"""What ``fauxdna bench guest`` reports; no figure is held to a limit here."""

from __future__ import annotations

from fauxdna.benchmark import guest
from fauxdna.vm.kernel import Kernel

KEYS = {
    *("boot_to_accel_s", "boot_mounted_s", "boot_ready_s", "device_ms", "vf_ms"),
    *("doorbell_to_wait_us", "doorbell_to_polled_us", "model_ms", "model_outside_ms", "model_ratio"),
}


def test_every_figure_is_measured(kernel: Kernel) -> None:
    figures = guest(progress=lambda _text: None, boots=1)
    assert set(figures) == KEYS | {"accelerator", "boots"}
    assert figures["accelerator"] in ("tcg", "kvm")
    assert all(isinstance(figures[key], float) and figures[key] != 0 for key in KEYS)
    assert figures["boot_mounted_s"] < figures["boot_ready_s"] < figures["boot_to_accel_s"]
