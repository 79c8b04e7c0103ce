"""Linux's own numbers that sandboxes are made with: namespaces, mounts, the seccomp filter (x86-64)."""

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

TMPFS_MAGIC = 0x0102_1994
"""``statfs(2)``'s ``f_type`` (``linux/magic.h``)."""
ACCEL_MAJOR = 261
"""Character devices of ``/dev/accel`` (``include/drm/drm_accel.h``)."""
NODE_FILE_SIZE = 1 << 40
"""Bytes of a sandbox's device file: sparse, and more than any program maps."""

PR_SET_NO_NEW_PRIVS = 38
"""``linux/prctl.h``."""
SYS_SECCOMP = 317
SYS_PIDFD_GETFD = 438
"""``seccomp(2)`` on x86-64, ``asm/unistd_64.h``."""
SYS_IOCTL = 16
"""``ioctl(2)`` on x86-64; an x32 caller's number has bit 30 set."""
AUDIT_ARCH_X86_64 = 0xC000_003E
"""``linux/audit.h``: EM_X86_64, 64 bits, little-endian."""
SECCOMP_SET_MODE_FILTER = 1
"""``linux/seccomp.h``, as all that follow."""
SECCOMP_NEW_LISTENER = 1 << 3
SECCOMP_WAIT_KILLABLE_RECV = 1 << 5
SECCOMP_USER_NOTIF = 0x7FC0_0000
SECCOMP_ALLOW = 0x7FFF_0000
SECCOMP_DATA_NR = 0
"""Offsets in ``struct seccomp_data``."""
SECCOMP_DATA_ARCH = 4
SECCOMP_DATA_ARGUMENTS = 16
BPF_LOAD_WORD = 0x20
"""``BPF_LD | BPF_W | BPF_ABS`` of ``linux/bpf_common.h``."""
BPF_AND = 0x54
"""``BPF_ALU | BPF_AND | BPF_K``."""
BPF_JUMP_EQUAL = 0x15
"""``BPF_JMP | BPF_JEQ | BPF_K``."""
BPF_RETURN = 0x06
"""``BPF_RET | BPF_K``."""
