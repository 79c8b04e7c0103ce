"""Linux's own numbers that sandboxes are made with: namespaces, mounts, resource limits (x86-64)."""

# Imported before a program starts: no typing, no enum.
CLONE_NEWNS = 0x0002_0000
"""``<linux/sched.h>``: a mount namespace of one's own."""
CLONE_NEWUSER = 0x1000_0000

MS_RDONLY = 0x1
"""``<linux/mount.h>``."""
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x8_0000
MNT_DETACH = 0x2
"""``umount2(2)``."""

SYS_PIVOT_ROOT = 155
"""``arch/x86/entry/syscalls/syscall_64.tbl``."""

ACCEL_MAJOR = 261
"""Character devices of ``/dev/accel`` (``include/drm/drm_accel.h``)."""
NODE_FILE_SIZE = 1 << 40
"""Bytes of a sandbox's device file: sparse, and more than any program maps."""
