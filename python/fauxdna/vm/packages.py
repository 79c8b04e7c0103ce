"""Debian packages for an ordinary user: fetched by the machine's own apt, with a private state, and unpacked into a folder.

Nothing is installed and no package's script runs. The mirror is the one that the machine's own apt uses; signatures are checked
against ``debian-archive-keyring``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fauxdna.cache import cache_folder, locked
from fauxdna.errors import FauxdnaError, NotFound, OutOfSpace

Progress = Callable[[str], None]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = ("trixie", "trixie-updates", "trixie-backports")
PREFERRED = "trixie-backports"
"""Pinned by code name: with ``a=`` apt would take the release's own, older QEMU, which has no vfio-user-pci."""
LISTS_SIZE = 160 << 20
"""Of trixie and its backports, unpacked."""
WAITING = "waiting for another process that fetches packages"
VERSIONS_FILE = "packages.json"
"""In each folder made of packages: their versions by name."""


class PackageError(FauxdnaError):
    """Packages could not be fetched or unpacked."""


def damaged(folder: Path, problem: str) -> PackageError:
    """A folder of the cache that is not what was fetched into it."""
    return PackageError(f"{folder} is damaged: {problem}", "remove that folder, and it is fetched anew")


class Packages:
    """Debian trixie with its backports, for amd64. Call :meth:`update` before anything else."""

    _fresh = False
    """Whether this process has read the index already."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._folder = cache_folder() / "vm" / "apt"
        self._environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}

    def update(self) -> None:
        """Reads the archive's index, once in a process."""
        if Packages._fresh:
            return
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NotFound(
                "Debian packages are fetched with apt-get and dpkg-deb, and this machine has none",
                "install QEMU 10.1 or later yourself and name a kernel: --kernel IMAGE --modules FOLDER",
            )
        if not KEYRING.exists():
            raise NotFound(f"{KEYRING} is missing, so Debian's signatures can't be checked", "install debian-archive-keyring")
        with self._locked():
            self._configure()
            free = shutil.disk_usage(self._folder).free
            if free < LISTS_SIZE:
                # apt-get waits for ever where its lists find no room.
                raise OutOfSpace(
                    f"{self._folder} has {free >> 20} MiB left, and Debian's package lists need {LISTS_SIZE >> 20}",
                    "make room there, or name another folder in FAUXDNA_CACHE",
                    errno=errno.ENOSPC,
                )
            self._progress("reading Debian's package lists")
            self._apt("apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")
        Packages._fresh = True

    def newest(self, pattern: str) -> list[str]:
        """Names of packages that match a regular expression, the newest by the numbers in the name first."""
        names = self._apt("apt-cache", "search", "--names-only", pattern).split("\n")
        found = [line.split(" ", 1)[0] for line in names if line]
        return sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True)

    def install(self, names: Sequence[str], root: Path, *, dependencies: bool, members: Iterable[str] = ()) -> None:
        """Unpacks packages, with all that they depend on if asked for, into ``root``; ``members`` limits it to paths (globs)."""
        with self._locked():
            shutil.rmtree(self._archives, ignore_errors=True)
            (self._archives / "partial").mkdir(parents=True)
            self._progress(f"fetching {self._describe(names, dependencies)}")
            try:
                if dependencies:
                    self._apt("apt-get", "-qq", "--yes", "--download-only", "install", *names)
                else:
                    self._apt("apt-get", "-qq", "download", *names, cwd=self._archives)
                files = sorted(self._archives.glob("*.deb"))
                self._progress(f"unpacking {len(files)} packages")
                for file in files:
                    _unpack(file, root, tuple(members))
                versions = {name: version for name, version, *_ in (file.name.split("_") for file in files)}
                known = root / VERSIONS_FILE
                if known.exists():
                    versions = {**json.loads(known.read_text()), **versions}
                known.write_text(json.dumps({name: text.replace("%3a", ":") for name, text in versions.items()}, indent=1))
            finally:
                shutil.rmtree(self._archives, ignore_errors=True)

    @property
    def _archives(self) -> Path:
        return self._folder / "cache" / "archives"

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._folder / "lock", lambda: self._progress(WAITING))

    def _describe(self, names: Sequence[str], dependencies: bool) -> str:
        command = ("--yes", "install") if dependencies else ("download",)
        uris = self._apt("apt-get", "-qq", "--print-uris", *command, *names).splitlines()
        size = sum(int(line.split()[2]) for line in uris if line.startswith("'"))
        return f"{names[0]} ({len(uris)} packages, {size / 1e6:.0f} MB)"

    def _configure(self) -> None:
        """Writes apt's private configuration; of the machine's own it keeps how things are acquired (proxies, credentials)."""
        folder = self._folder
        for name in ("state/lists/partial", "cache/archives/partial", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        mirror = debian_mirror()
        (folder / "sources.list").write_text(
            "".join(f"deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n" for suite in SUITES)
        )
        (folder / "preferences").write_text(f"Package: *\nPin: release n={PREFERRED}\nPin-Priority: 900\n")
        acquire = [line for line in _output("apt-config", "dump").splitlines() if line.startswith("Acquire::")]
        settings = {
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Log": folder / "log",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": folder / "empty",
            "Dir::Etc::preferences": folder / "preferences",
            "Dir::Etc::preferencesparts": folder / "empty",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": folder / "empty",
            "APT::Architecture": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        lines = [*acquire, 'APT::Architectures { "amd64"; };', *(f'{name} "{value}";' for name, value in settings.items())]
        (folder / "apt.conf").write_text("\n".join(lines) + "\n")

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        result = subprocess.run(command, env=self._environment, cwd=cwd, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = next((line for line in result.stderr.splitlines() if line.startswith("E:")), result.stderr.strip())
            full = re.search(r"free space|No space left", result.stderr)
            raise PackageError(
                f"{command[0]} failed: {reason.removeprefix('E:').strip()}",
                f"make room in {cache_folder()}, or name another folder in FAUXDNA_CACHE"
                if full
                else "check the network, or name another mirror in FAUXDNA_DEBIAN_MIRROR",
            )
        return result.stdout


def debian_mirror() -> str:
    """``$FAUXDNA_DEBIAN_MIRROR``, or the Debian mirror in the machine's own sources; :class:`PackageError` without either."""
    named = os.environ.get("FAUXDNA_DEBIAN_MIRROR")
    if named:
        return named
    lines = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").splitlines()
    # apt names the targets whose lists it has; a container's image often has none, and then the addresses tell.
    lines += re.findall(r"^'(\S+/debian/)dists/", _output("apt-get", "--print-uris", "update"), re.MULTILINE)
    for line in lines:
        if re.search(r"/debian/?$", line):
            return line
    raise PackageError("apt's sources on this machine name no Debian mirror", "name one: FAUXDNA_DEBIAN_MIRROR=URL")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _unpack(file: Path, root: Path, members: tuple[str, ...]) -> None:
    if not members:
        command = ["dpkg-deb", "--extract", str(file), str(root)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        status, message = result.returncode, result.stderr
    else:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as source:
            result = subprocess.run(
                ["tar", "--extract", "--wildcards", "--directory", str(root), *members],
                stdin=source.stdout,
                capture_output=True,
                text=True,
                check=False,
            )
        status, message = result.returncode, result.stderr
        if "Not found in archive" in message:
            status = 0
    if status:
        raise PackageError(
            f"{file.name} can't be unpacked: {message.strip()}",
            f"make room in {cache_folder()}, or name another folder in FAUXDNA_CACHE",
        )
