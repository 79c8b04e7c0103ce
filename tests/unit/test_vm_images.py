"""What a guest is booted from: archives, kernels and modules."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fauxdna.errors import InvalidInput, NotFound, OutOfSpace
from fauxdna.vm import packages
from fauxdna.vm.cpio import Cpio
from fauxdna.vm.kernel import bzimage_release, stock_kernel, uncompressed
from fauxdna.vm.modules import ModuleTree
from fauxdna.vm.programs import probe


def module(folder: Path, name: str, depends: str = "") -> None:
    """An object file with a module's ``.modinfo``, made by the C compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    source = f'const char a[] __attribute__((section(".modinfo"))) = "depends={depends}\\0vermagic=7.2.0-mine SMP";'
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-x", "c", "-c", "-", "-o", folder / f"{name}.ko"], input=source.encode(), check=True)


def bzimage(payload: bytes) -> bytes:
    """A boot sector and setup of 2 sectors in all, by Linux's Documentation/arch/x86/boot.rst."""
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x300 - 0x200).to_bytes(2, "little")
    image[0x248:0x24C] = (16).to_bytes(4, "little")
    image[0x24C:0x250] = len(payload).to_bytes(4, "little")
    image[0x300:0x310] = b"7.2.0-mine (x)\0\0"
    return bytes(image) + bytes(16) + payload


def test_an_archive_has_the_documented_header() -> None:
    archive = Cpio()
    archive.file("/a/b", b"12345", mode=0o755)
    data = archive.pack()
    # magic, then 13 fields of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize chksum
    assert data[:6] == b"070701"
    assert int(data[14:22], 16) == 0o040755
    # The folder's entry: 110 bytes of header and "a\0", in all a multiple of 4: 112.
    second = data[112:]
    assert (int(second[14:22], 16), int(second[54:62], 16), int(second[94:102], 16)) == (0o100755, 5, 4)
    # 110 + "a/b\0" = 114, padded to 116.
    assert second[116:121] == b"12345"
    assert len(data) % 4 == 0


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_damaged_probe_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path))
    made = probe()
    assert made[:4] == b"\x7fELF"
    (file,) = tmp_path.glob("vm/probe-*/fauxdna-probe")
    for damage in (lambda: file.write_bytes(made[:5000]), file.unlink, lambda: shutil.rmtree(file.parent)):
        damage()
        assert probe() == made
    assert file.read_bytes() == made


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs the cpio program")
def test_cpio_reads_an_archive() -> None:
    archive = Cpio()
    archive.file("/etc/name", b"x")
    archive.link("/bin/sh", "busybox")
    listed = subprocess.run(["cpio", "-t"], input=archive.pack(), capture_output=True, check=True).stdout.split()
    assert listed == [b"etc", b"etc/name", b"bin", b"bin/sh"]


def test_a_bzimage_tells_its_release(tmp_path: Path) -> None:
    assert bzimage_release(bzimage(b""), tmp_path) == "7.2.0-mine"
    with pytest.raises(InvalidInput, match="neither a bzImage nor an ELF"):
        bzimage_release(bytes(4096), tmp_path)


@pytest.mark.parametrize("payload", [b"", b"junk", gzip.compress(b"no kernel") + bytes(4), lzma.compress(b"no kernel")[:20]])
def test_a_kernel_that_can_not_be_taken_out_is_left_alone(payload: bytes, tmp_path: Path) -> None:
    assert uncompressed(bzimage(payload), tmp_path) is None


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    module(tmp_path / "x", "gpu-sched", "drm")
    module(tmp_path / "y", "drm")
    module(tmp_path, "amdxdna", "gpu-sched,drm,button")
    (tmp_path / "modules.builtin").write_text("kernel/drivers/acpi/button.ko\n")
    tree = ModuleTree(tmp_path)
    found = tree.closure(["amdxdna"])
    assert list(found) == ["drm", "gpu_sched", "amdxdna"]
    assert found["amdxdna"][1] == ("gpu_sched", "drm")
    assert tree.release() == "7.2.0-mine"


def test_a_missing_module_is_named_with_who_needs_it(tmp_path: Path) -> None:
    module(tmp_path, "amdxdna", "drm")
    with pytest.raises(NotFound, match="module drm, which amdxdna needs, is not under"):
        ModuleTree(tmp_path).closure(["amdxdna"])


def test_modules_that_need_each_other_are_refused(tmp_path: Path) -> None:
    module(tmp_path, "a", "b")
    module(tmp_path, "b", "a")
    with pytest.raises(InvalidInput, match="circle"):
        ModuleTree(tmp_path).closure(["a"])


def test_something_else_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "a.ko").write_bytes(b"text")
    with pytest.raises(InvalidInput, match="no kernel module"):
        ModuleTree(tmp_path).closure(["a"])


def test_a_mirror_is_the_machines_own_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAUXDNA_DEBIAN_MIRROR", raising=False)
    sources = "http://mirror.test/debian-security/\nhttp://mirror.test/debian/\n"
    monkeypatch.setattr(packages, "_output", lambda *command: sources)
    assert packages.debian_mirror() == "http://mirror.test/debian/"
    # As apt 3.0 prints it in an image without package lists.
    uris = "'http://mirror.test/debian/dists/trixie/InRelease' mirror.test_debian_dists_trixie_InRelease 0 \n"
    monkeypatch.setattr(packages, "_output", lambda *command: uris if "--print-uris" in command else "")
    assert packages.debian_mirror() == "http://mirror.test/debian/"
    monkeypatch.setattr(packages, "_output", lambda *command: "http://mirror.test/ubuntu/\n")
    with pytest.raises(packages.PackageError, match="FAUXDNA_DEBIAN_MIRROR=URL"):
        packages.debian_mirror()
    monkeypatch.setenv("FAUXDNA_DEBIAN_MIRROR", "http://named.test/debian/")
    assert packages.debian_mirror() == "http://named.test/debian/"


def test_a_kernel_in_the_cache_that_is_damaged_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path))
    home = tmp_path / "vm" / "linux"
    home.mkdir(parents=True)
    told = f"{home} is damaged: .*; remove that folder, and it is fetched anew"
    with pytest.raises(packages.PackageError, match=told.replace(".*", "it has no kernel")):
        stock_kernel(print)
    release = home / "usr" / "lib" / "modules" / "7.2.0"
    release.mkdir(parents=True)
    (release / "vmlinuz").touch()
    with pytest.raises(packages.PackageError, match=told):
        stock_kernel(print).modules.closure(["amdxdna"])
    (release / "amdxdna.ko").touch()
    with pytest.raises(packages.PackageError, match=told):
        stock_kernel(print).modules.closure(["amdxdna"])


def test_a_full_disk_is_found_before_apt_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path))
    monkeypatch.setattr(packages.Packages, "_fresh", False)
    monkeypatch.setattr(packages.Packages, "_configure", lambda self: None)
    monkeypatch.setattr(packages, "KEYRING", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20 << 20))
    with pytest.raises(OutOfSpace, match="has 20 MiB left, and Debian's package lists need 160"):
        packages.Packages(print).update()
