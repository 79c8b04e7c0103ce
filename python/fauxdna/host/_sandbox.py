"""A program's own view of /dev and /sys: private mount namespace, device files, and a user namespace when not root."""

from __future__ import annotations

import errno
import os

from fauxdna.abi.linux import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
    NODE_FILE_SIZE,
)
from fauxdna.errors import FauxdnaError, Unsupported

from ._system import mount, pivot_root, umount, unshare
from .sysfs import OPENED, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC
_OF_THE_ROOT = ("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "opt", "run", "sbin", "usr", "var")
"""What ``--root`` takes from the other root; everything else at the top stays this machine's."""
_OF_THE_HOST = ("etc/passwd", "etc/group", "etc/hosts", "etc/resolv.conf")
"""Files that belong to the machine and its users, whatever root a program runs in."""


def enter() -> None:
    """Gives this process a mount namespace of its own, in a user namespace of its own unless it may do without.

    Its user and group ids stay what they are.

    Raises:
        Unsupported: the machine does not let this user have namespaces; the message names the setting.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        if user != 0:
            raise PermissionError
        unshare(CLONE_NEWNS)
    except PermissionError:
        try:
            unshare(CLONE_NEWUSER | CLONE_NEWNS)
        except OSError as error:
            raise _no_namespace(error) from error
        try:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")
        except OSError as error:
            raise _no_namespace(error) from error
    except OSError as error:
        raise _no_namespace(error) from error
    try:
        # Mounts of the machine still appear in here; ours never appear there.
        mount("", "/", "", MS_REC | MS_SLAVE)
    except OSError as error:
        raise _no_mounts(error) from error


def furnish(nodes: int, tree: Tree) -> list[int]:
    """Makes ``/dev/accel/accel0`` and so on, and shows ``tree`` in ``/sys``; gives the descriptors of the device files.

    Everything else in ``/dev`` and ``/sys`` stays as it is; NPUs of the machine itself are hidden.
    """
    try:
        _cover("/dev", {"accel": None})
        mount("fauxdna", "/dev/accel", "tmpfs", _QUIET, "mode=0755,size=0")
        files = [_node_file(f"/dev/accel/accel{index}") for index in range(nodes)]
        _seal("/dev")
        _cover("/sys", OPENED)
        tree.write()
        _seal("/sys")
    except OSError as error:
        raise _no_mounts(error) from error
    return files


def change_root(root: str) -> None:
    """Runs what follows in the system that lies in the directory ``root``: its programs and libraries, this machine's files.

    /home, /root, /tmp, /mnt, /media, /srv and whatever else the machine has at the top stay visible; /usr, /etc, /var, /opt come
    from ``root``. The working directory stays the same.
    """
    root = os.path.realpath(root)
    if root == "/":
        return
    if not os.path.isdir(f"{root}/usr"):
        raise Unsupported(
            f"--root {root} is no Linux system: it has no /usr", "name a directory with a system, or trixie, which is fetched"
        )
    try:
        place = os.getcwd()
    except FileNotFoundError:
        place = "/"
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    host_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # It is put together over the directory itself, which stays reachable below by its descriptor.
        mount("fauxdna", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
        for source, names in (
            (root_fd, [name for name in os.listdir(root_fd) if name in _OF_THE_ROOT]),
            (host_fd, [name for name in os.listdir(host_fd) if name not in _OF_THE_ROOT]),
        ):
            for name in names:
                _show(source, name, f"{root}/{name}")
        for name in _OF_THE_HOST:
            target = f"{root}/{name}"
            if os.path.isfile(f"/{name}") and os.path.isfile(target) and not os.path.islink(target):
                mount(f"/{name}", target, "", MS_BIND)
        # pivot_root(2), NOTES: the old root is stacked under the new one, then taken away.
        os.chdir(root)
        pivot_root(".", ".")
        umount(".", MNT_DETACH)
    except OSError as error:
        raise _no_mounts(error) from error
    finally:
        os.close(root_fd)
        os.close(host_fd)
    try:
        os.chdir(place)
    except OSError as error:
        raise Unsupported(
            f"--root: the working directory {place} does not exist inside {root}",
            "start from a directory outside /usr, /etc, /var and /opt, such as your home",
        ) from error


def inside() -> bool:
    """Whether this process is in a sandbox already."""
    return os.path.isfile("/dev/accel/accel0")


def _cover(path: str, opened: Mapping[str, object]) -> None:
    """Puts a tmpfs over ``path`` that shows what was there. Names in ``opened`` become directories that can be added to: with a
    mapping they show their old contents in turn, with None they start empty.
    """
    below = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount("fauxdna", path, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755")
        _fill(below, path, opened)
    finally:
        os.close(below)


def _fill(source: int, target: str, opened: Mapping[str, object]) -> None:
    for name in os.listdir(source):
        if name not in opened:
            _show(source, name, f"{target}/{name}")
    for name, inner in opened.items():
        os.mkdir(f"{target}/{name}")
        if inner is None:
            continue
        assert isinstance(inner, dict)
        try:
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
        except FileNotFoundError:
            # A machine without PCI, or a container that hides it.
            _fill_empty(f"{target}/{name}", inner)
            continue
        try:
            _fill(child, f"{target}/{name}", inner)
        finally:
            os.close(child)


def _fill_empty(target: str, opened: Mapping[str, object]) -> None:
    for name, inner in opened.items():
        os.mkdir(f"{target}/{name}")
        if isinstance(inner, dict):
            _fill_empty(f"{target}/{name}", inner)


def _show(source: int, name: str, target: str) -> None:
    """Makes ``name`` of the directory ``source`` appear at ``target``: a link again, anything else by a bind mount."""
    # Paths through /proc lead below what has been mounted over the directory meanwhile.
    path = f"/proc/self/fd/{source}/{name}"
    try:
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            return
        if os.path.isdir(path):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o444))
        mount(path, target, "", MS_BIND | MS_REC)
    except FileNotFoundError:
        # Devices come and go.
        return


def _seal(path: str) -> None:
    mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)


def _node_file(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    os.fchmod(fd, 0o666)
    os.ftruncate(fd, NODE_FILE_SIZE)
    return fd


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _no_namespace(error: OSError) -> FauxdnaError:
    number = error.errno or errno.EPERM
    if number in (errno.ENOSPC, errno.EUSERS):
        return Unsupported(
            "no user namespace: this machine's limit is reached or 0",
            "as root: sysctl user.max_user_namespaces=10000",
            errno=number,
        )
    if os.path.exists("/proc/sys/kernel/unprivileged_userns_clone") and _setting("kernel/unprivileged_userns_clone") == "0":
        return Unsupported(
            "no user namespace: this machine allows them to root only",
            "as root: sysctl kernel.unprivileged_userns_clone=1",
            errno=number,
        )
    if _confined():
        return _apparmor(number)
    if _chrooted():
        return Unsupported(
            "no user namespace: this process is in a chroot, where Linux allows none",
            "start it outside, with --root DIRECTORY instead of chroot",
            errno=number,
        )
    return Unsupported(
        f"no user namespace ({os.strerror(number)}): a container, a chroot or a security module forbids it",
        "in a container, allow it: podman run --security-opt seccomp=unconfined, or docker run with it and --cap-add SYS_ADMIN",
        errno=number,
    )


def _no_mounts(error: OSError) -> FauxdnaError:
    number = error.errno or errno.EPERM
    if _confined():
        return _apparmor(number)
    if _chrooted():
        return Unsupported(
            "no private mounts: the root of this process is no mount point, as in a chroot",
            "start it outside, with --root DIRECTORY instead of chroot",
            errno=number,
        )
    return Unsupported(
        f"no private mounts at {error.filename} ({os.strerror(number)}): a container or security module forbids them",
        "in a container, allow them: --security-opt seccomp=unconfined --cap-add SYS_ADMIN",
        errno=number,
    )


def _confined() -> bool:
    """Whether AppArmor takes the rights away that a user namespace gives: Ubuntu 24.04 does, from programs without a profile."""
    return os.geteuid() != 0 and _setting("kernel/apparmor_restrict_unprivileged_userns") == "1"


def _apparmor(number: int) -> FauxdnaError:
    return Unsupported(
        "no rights in the user namespace: AppArmor takes them from ordinary users",
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        errno=number,
    )


def _chrooted() -> bool:
    """Whether the root directory is no mount point: what a chroot looks like from inside."""
    try:
        with open("/proc/self/mountinfo") as file:
            return all(line.split(" ", 5)[4] != "/" for line in file)
    except OSError:
        return False


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""
