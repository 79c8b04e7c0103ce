"""errno of every ioctl, mutation by mutation, as Linux 7.2 has it on an AIE4 node; each row names the kernel's function.

The values are those of the kernel's source, read in its order of checks.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from errno import (
    EACCES,
    EBADF,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTTY,
    EOPNOTSUPP,
    ETIME,
)

import pytest
from _patience import PATIENCE
from _uapi import STRUCTURES, Program, Sandbox

from fauxdna.abi import uapi
from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import BoType, Ioctl
from fauxdna.accel.machine import Machine
from fauxdna.host.uapi import _processes

BAD = 0x10
"""An address that nobody maps."""
M64 = (1 << 64) - 1
QOS = ctypes.create_string_buffer(uapi.QOS_INFO.size)
QOS_P = ctypes.addressof(QOS)


@pytest.fixture
def vf(host: Machine) -> Iterator[Program]:
    with Sandbox(host) as sandbox:
        program = sandbox.open()
        assert program.bo(8192) == 1
        assert program.context(1).handle == 1
        assert program.ioctl(CoreIoctl.SYNCOBJ_CREATE).handle == 1
        assert program.ioctl(CoreIoctl.SYNCOBJ_CREATE, flags=1).handle == 2
        yield program


@pytest.fixture
def pf(host: Machine) -> Iterator[Program]:
    with Sandbox(host, next(bdf for bdf in host.nodes if bdf.endswith(".0"))) as sandbox:
        yield sandbox.open()


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's program."""
    from fauxdna.host.uapi import _drm, _file, service

    for module in (_processes, _drm, _file, service):
        monkeypatch.setattr(module, "capable", lambda pid, capability: False)


def handles(*values: int) -> int:
    """An array of handles; kept for the test's duration."""
    buffer = ctypes.create_string_buffer(struct.pack(f"<{len(values)}I", *values))
    _kept.append(buffer)
    return ctypes.addressof(buffer)


_kept: list[object] = []

VF_ROWS = [
    # drm_ioctl
    (0x4008_6509, {}, ENOTTY, "drm_ioctl: another type"),
    (0xC008_6460, {}, EINVAL, "drm_ioctl: driver number past num_ioctls"),
    (0xC008_64D3, {}, EINVAL, "drm_ioctl: core number past DRM_CORE_IOCTL_COUNT"),
    (0xC010_6403, {}, EINVAL, "drm_ioctl: IRQ_BUSID has no function"),
    (0xC008_6420, {}, EINVAL, "drm_ioctl: ADD_CTX has no function"),
    # amdxdna_drm_create_bo_ioctl
    (Ioctl.CREATE_BO, {"size": 4096, "type": 1, "flags": 1}, EINVAL, "amdxdna_drm_create_bo_ioctl: flags"),
    (Ioctl.CREATE_BO, {"size": 4096, "type": 0}, EINVAL, "amdxdna_drm_create_bo_ioctl: default"),
    (Ioctl.CREATE_BO, {"size": 4096, "type": 5}, EINVAL, "amdxdna_drm_create_bo_ioctl: default"),
    (Ioctl.CREATE_BO, {"size": 1 << 26, "type": BoType.DEV_HEAP}, EINVAL, "amdxdna_drm_create_dev_heap_bo: not a multiple of 0"),
    (Ioctl.CREATE_BO, {"size": 4096, "type": BoType.DEV}, EINVAL, "amdxdna_gem_heap_alloc: larger than 0"),
    (Ioctl.CREATE_BO, {"size": 0, "type": BoType.DEV}, EINVAL, "amdxdna_drm_create_dev_bo: size 0"),
    (Ioctl.CREATE_BO, {"size": 0, "type": 1}, ENOSPC, "drm_mm_insert_node: 0 pages"),
    (Ioctl.CREATE_BO, {"size": M64, "type": 1}, ENOSPC, "PAGE_ALIGN wraps to 0"),
    (Ioctl.CREATE_BO, {"size": 1 << 63, "type": 1}, EINVAL, "shmem_file_setup: size < 0"),
    (Ioctl.CREATE_BO, {"size": 1 << 40, "type": 1}, ENOSPC, "drm_vma_offset_add: more than DRM_FILE_PAGE_OFFSET_SIZE"),
    (Ioctl.CREATE_BO, {"vaddr": BAD, "type": 1}, EINVAL, "amdxdna_gem_create_ubuf_object: va_tbl"),
    # amdxdna_drm_get_bo_info_ioctl
    (Ioctl.GET_BO_INFO, {"handle": 1, "ext": 1}, EINVAL, "amdxdna_drm_get_bo_info_ioctl: ext"),
    (Ioctl.GET_BO_INFO, {"handle": 1, "ext_flags": 1}, EINVAL, "amdxdna_drm_get_bo_info_ioctl: ext_flags"),
    (Ioctl.GET_BO_INFO, {"handle": 99, "pad": 1}, EINVAL, "amdxdna_drm_get_bo_info_ioctl: pad comes first"),
    (Ioctl.GET_BO_INFO, {"handle": 99}, ENOENT, "drm_gem_object_lookup"),
    (Ioctl.GET_BO_INFO, {"handle": 0}, ENOENT, "drm_gem_object_lookup"),
    # amdxdna_drm_sync_bo_ioctl
    (Ioctl.SYNC_BO, {"handle": 99}, ENOENT, "drm_gem_object_lookup"),
    (Ioctl.SYNC_BO, {"handle": 1, "offset": 8192}, EINVAL, "amdxdna_flush_bo: offset"),
    (Ioctl.SYNC_BO, {"handle": 1, "offset": 4096, "size": M64}, EINVAL, "amdxdna_flush_bo: check_add_overflow"),
    (Ioctl.SYNC_BO, {"handle": 1, "offset": 4096, "size": 1 << 40}, 0, "amdxdna_flush_bo: min"),
    (Ioctl.SYNC_BO, {"handle": 1, "size": 8192, "direction": 1}, EOPNOTSUPP, "amdxdna_hwctx_sync_debug_bo"),
    (Ioctl.SYNC_BO, {"handle": 1, "size": 8192, "direction": 2}, 0, "amdxdna_drm_sync_bo_ioctl: any other direction"),
    # drm_gem.c
    (Ioctl.GEM_CLOSE, {"handle": 99}, EINVAL, "drm_gem_handle_delete"),
    (Ioctl.GEM_CLOSE, {"handle": 0}, EINVAL, "drm_gem_handle_delete"),
    (Ioctl.GEM_CLOSE, {"handle": 1, "pad": 7}, 0, "drm_gem_close_ioctl looks at no pad"),
    (CoreIoctl.GEM_CHANGE_HANDLE, {}, EINVAL, "drm_invalid_op"),
    # drm_prime.c
    (Ioctl.PRIME_HANDLE_TO_FD, {"handle": 1, "flags": 1}, EINVAL, "drm_prime_handle_to_fd_ioctl: flags"),
    (Ioctl.PRIME_HANDLE_TO_FD, {"handle": 99}, ENOENT, "drm_gem_prime_handle_to_dmabuf"),
    (Ioctl.PRIME_FD_TO_HANDLE, {"fd": -1}, EBADF, "dma_buf_get"),
    (Ioctl.PRIME_FD_TO_HANDLE, {"fd": 0}, EINVAL, "dma_buf_get: is_dma_buf_file"),
    # amdxdna_ctx.c, aie4_ctx.c
    (Ioctl.CREATE_HWCTX, {"ext": 1}, EINVAL, "amdxdna_drm_create_hwctx_ioctl: ext"),
    (Ioctl.CREATE_HWCTX, {"ext_flags": 1}, EINVAL, "amdxdna_drm_create_hwctx_ioctl: ext_flags"),
    (Ioctl.CREATE_HWCTX, {"umq_bo": 1, "num_tiles": 4}, EFAULT, "amdxdna_drm_create_hwctx_ioctl: qos_p"),
    (Ioctl.CREATE_HWCTX, {"qos_p": QOS_P, "umq_bo": 99, "num_tiles": 4}, ENOENT, "aie4_hwctx_umq_init"),
    (Ioctl.CREATE_HWCTX, {"qos_p": QOS_P, "umq_bo": 1, "num_tiles": 0}, EINVAL, "aie4_hwctx_create: num_tiles"),
    (Ioctl.CREATE_HWCTX, {"qos_p": QOS_P, "umq_bo": 1, "num_tiles": 13}, EINVAL, "aie_send_mgmt_msg_wait: refused"),
    (Ioctl.DESTROY_HWCTX, {"handle": 1, "pad": 1}, EINVAL, "amdxdna_drm_destroy_hwctx_ioctl: pad"),
    (Ioctl.DESTROY_HWCTX, {"handle": 2}, EINVAL, "amdxdna_drm_destroy_hwctx_ioctl: xa_erase"),
    (Ioctl.CONFIG_HWCTX, {"handle": 1, "pad": 1}, EINVAL, "amdxdna_drm_config_hwctx_ioctl: pad"),
    (Ioctl.CONFIG_HWCTX, {"handle": 99, "param_type": 99, "param_val_size": 1 << 20}, EOPNOTSUPP, "no ops->hwctx_config"),
    (Ioctl.EXEC_CMD, {"ext": 1, "type": 1}, EINVAL, "amdxdna_drm_submit_cmd_ioctl: ext"),
    (Ioctl.EXEC_CMD, {"type": 1, "cmd_count": 1}, EINVAL, "amdxdna_drm_submit_cmd_ioctl: type"),
    (Ioctl.EXEC_CMD, {"cmd_count": 1, "arg_count": 4096}, EINVAL, "amdxdna_drm_submit_execbuf: MAX_ARG_COUNT"),
    (Ioctl.EXEC_CMD, {"cmd_count": 2, "arg_count": 1, "args": BAD}, EINVAL, "amdxdna_drm_submit_execbuf: cmd_count"),
    (Ioctl.EXEC_CMD, {"cmd_count": 1, "arg_count": 1, "args": BAD}, EFAULT, "amdxdna_drm_submit_execbuf: args"),
    (Ioctl.EXEC_CMD, {"cmd_count": 1, "cmd_handles": 99, "hwctx": 9}, EOPNOTSUPP, "amdxdna_cmd_submit: no ops->cmd_submit"),
    (Ioctl.WAIT_CMD, {"hwctx": 2, "timeout": 1}, EINVAL, "amdxdna_drm_wait_cmd_ioctl"),
    (Ioctl.WAIT_CMD, {"hwctx": 1, "timeout": 1}, ETIME, "aie4_cmd_wait: never submitted"),
    (Ioctl.WAIT_CMD, {"hwctx": 1, "timeout": 1, "seq": M64}, ETIME, "aie4_cmd_wait: never submitted"),
    # aie4_get_info
    *((Ioctl.GET_INFO, {"param": p, "buffer_size": 64}, EOPNOTSUPP, "aie4_get_info: default") for p in (0, 2, 8, 14, M64 >> 32)),
    (Ioctl.GET_INFO, {"param": 1, "buffer_size": 64, "buffer": BAD}, EFAULT, "amdxdna_get_metadata"),
    (Ioctl.GET_INFO, {"param": 1, "buffer_size": 0, "buffer": BAD}, 0, "amdxdna_get_metadata: nothing to copy"),
    (Ioctl.GET_ARRAY, {"pad": 1}, EOPNOTSUPP, "amdxdna_drm_get_array_ioctl: no ops->get_array, before pad"),
    (Ioctl.SET_STATE, {"buffer": BAD, "buffer_size": 8}, EOPNOTSUPP, "amdxdna_drm_set_state_ioctl: no ops->set_aie_state"),
    # drm_ioctl.c
    (CoreIoctl.GET_CAP, {"capability": 1}, EOPNOTSUPP, "drm_getcap: no DRIVER_MODESET"),
    (CoreIoctl.GET_CAP, {"capability": M64}, EOPNOTSUPP, "drm_getcap: no DRIVER_MODESET"),
    (CoreIoctl.GET_CLIENT, {"idx": 1}, EINVAL, "drm_getclient"),
    (CoreIoctl.SET_CLIENT_CAP, {}, EOPNOTSUPP, "drm_setclientcap"),
    (CoreIoctl.SET_CLIENT_NAME, {"name_len": 65, "name": BAD}, EINVAL, "drm_set_client_name: length"),
    (CoreIoctl.SET_CLIENT_NAME, {"name_len": 64, "name": BAD}, EFAULT, "memdup_user_nul"),
    (CoreIoctl.SET_CLIENT_NAME, {"name_len": 0, "name": BAD}, 0, "drm_set_client_name: no name"),
    (CoreIoctl.SET_MASTER, {}, EINVAL, "drm_setmaster_ioctl: no master"),
    (CoreIoctl.DROP_MASTER, {}, EINVAL, "drm_dropmaster_ioctl: not master"),
    (CoreIoctl.SET_VERSION, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.AUTH_MAGIC, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.BLOCK, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.MODE_SETCRTC, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.MODE_ATOMIC, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.MODE_DIRTYFB, {}, EACCES, "drm_ioctl_permit: DRM_MASTER"),
    (CoreIoctl.MODE_GETRESOURCES, {}, EOPNOTSUPP, "drm_mode_getresources"),
    (CoreIoctl.MODE_ADDFB, {}, EOPNOTSUPP, "drm_mode_addfb"),
    (CoreIoctl.MODE_GETFB2, {}, EINVAL, "drm_mode_getfb2_ioctl"),
    (CoreIoctl.MODE_CREATE_DUMB, {}, ENOSYS, "drm_mode_create_dumb"),
    (CoreIoctl.MODE_MAP_DUMB, {}, ENOSYS, "drm_mode_mmap_dumb_ioctl"),
    (CoreIoctl.MODE_DESTROY_DUMB, {}, ENOSYS, "drm_mode_destroy_dumb"),
    (CoreIoctl.WAIT_VBLANK, {}, EOPNOTSUPP, "drm_wait_vblank_ioctl"),
    # drm_syncobj.c
    (CoreIoctl.SYNCOBJ_CREATE, {"flags": 2}, EINVAL, "drm_syncobj_create_ioctl"),
    (CoreIoctl.SYNCOBJ_DESTROY, {"handle": 1, "pad": 1}, EINVAL, "drm_syncobj_destroy_ioctl: pad"),
    (CoreIoctl.SYNCOBJ_DESTROY, {"handle": 3}, EINVAL, "drm_syncobj_destroy"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "pad": 1}, EINVAL, "drm_syncobj_handle_to_fd_ioctl: pad"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "flags": 4}, EINVAL, "drm_syncobj_handle_to_fd_ioctl: flags"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "point": 1}, EINVAL, "drm_syncobj_handle_to_fd_ioctl: point"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 3}, EINVAL, "drm_syncobj_handle_to_fd"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 3, "flags": 1}, ENOENT, "drm_syncobj_find_fence"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "flags": 1}, EINVAL, "drm_syncobj_find_fence: no fence"),
    (CoreIoctl.SYNCOBJ_HANDLE_TO_FD, {"handle": 2, "flags": 3, "point": 1}, EINVAL, "dma_fence_chain_find_seqno: no chain"),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": -1}, EINVAL, "drm_syncobj_fd_to_handle"),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": 0}, EINVAL, "drm_syncobj_fd_to_handle"),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": -1, "flags": 1, "handle": 3}, EINVAL, "sync_file_get_fence comes first"),
    (CoreIoctl.SYNCOBJ_FD_TO_HANDLE, {"fd": 0, "point": 1}, EINVAL, "drm_syncobj_fd_to_handle_ioctl: point"),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"pad": 1, "src_handle": 9}, EINVAL, "drm_syncobj_transfer_ioctl: pad"),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"src_handle": 2, "dst_handle": 9, "flags": 9}, ENOENT, "drm_syncobj_transfer_to_binary"),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"src_handle": 9, "dst_handle": 1, "flags": 9}, ENOENT, "drm_syncobj_find_fence"),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"src_handle": 2, "dst_handle": 1, "flags": 1}, EINVAL, "drm_syncobj_find_fence: flags"),
    (CoreIoctl.SYNCOBJ_TRANSFER, {"src_handle": 1, "dst_handle": 2}, EINVAL, "drm_syncobj_find_fence: no fence"),
    (CoreIoctl.SYNCOBJ_WAIT, {"flags": 4}, EINVAL, "drm_syncobj_wait_ioctl: WAIT_AVAILABLE"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": BAD}, 0, "drm_syncobj_wait_ioctl: count 0"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": BAD, "count_handles": 1}, EFAULT, "drm_syncobj_array_find"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": BAD, "count_handles": 1 << 21}, ENOMEM, "drm_syncobj_array_find: kmalloc_array"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(9), "count_handles": 1}, ENOENT, "drm_syncobj_array_find"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(1), "count_handles": 1}, EINVAL, "drm_syncobj_array_wait_timeout: no fence"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(1), "count_handles": 1, "flags": 2}, ETIME, "timeout 0"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(1), "count_handles": 1, "flags": 2, "timeout_nsec": -5}, ETIME, "past"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(1, 2), "count_handles": 2, "flags": 3}, ETIME, "WAIT_ALL"),
    (CoreIoctl.SYNCOBJ_WAIT, {"handles": handles(1, 2), "count_handles": 2, "flags": 2}, 0, "one of two"),
    (CoreIoctl.SYNCOBJ_TIMELINE_WAIT, {"flags": 16}, EINVAL, "drm_syncobj_timeline_wait_ioctl"),
    (
        CoreIoctl.SYNCOBJ_TIMELINE_WAIT,
        {"handles": handles(2), "points": BAD, "count_handles": 1},
        EFAULT,
        "drm_syncobj_array_wait_timeout: points",
    ),
    (CoreIoctl.SYNCOBJ_RESET, {"pad": 1}, EINVAL, "drm_syncobj_reset_ioctl: pad"),
    (CoreIoctl.SYNCOBJ_RESET, {}, EINVAL, "drm_syncobj_reset_ioctl: count 0"),
    (CoreIoctl.SYNCOBJ_SIGNAL, {"handles": handles(1, 9), "count_handles": 2}, ENOENT, "drm_syncobj_array_find"),
    (CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL, {"flags": 1}, EINVAL, "drm_syncobj_timeline_signal_ioctl: flags"),
    (CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL, {"handles": handles(1), "points": BAD, "count_handles": 1}, EFAULT, "points"),
    (CoreIoctl.SYNCOBJ_QUERY, {"flags": 2}, EINVAL, "drm_syncobj_query_ioctl: flags"),
    (CoreIoctl.SYNCOBJ_QUERY, {"handles": handles(2), "points": BAD, "count_handles": 1}, EFAULT, "drm_syncobj_query_ioctl"),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"flags": 1, "handle": 9}, EINVAL, "drm_syncobj_eventfd_ioctl: flags"),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"pad": 1, "handle": 9}, EINVAL, "drm_syncobj_eventfd_ioctl: pad"),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"handle": 9, "fd": -1}, ENOENT, "drm_syncobj_find"),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"handle": 1, "fd": -1}, EBADF, "eventfd_ctx_fdget"),
    (CoreIoctl.SYNCOBJ_EVENTFD, {"handle": 1, "fd": 0}, EINVAL, "eventfd_ctx_fdget"),
]

PF_ROWS = [
    (Ioctl.CREATE_HWCTX, {"ext": 1}, EINVAL, "amdxdna_drm_create_hwctx_ioctl: ext"),
    (Ioctl.CREATE_HWCTX, {}, EOPNOTSUPP, "amdxdna_drm_create_hwctx_ioctl: no ops->hwctx_init, before qos_p"),
    (Ioctl.DESTROY_HWCTX, {"handle": 1}, EINVAL, "amdxdna_drm_destroy_hwctx_ioctl: xa_erase"),
    (Ioctl.CONFIG_HWCTX, {}, EOPNOTSUPP, "no ops->hwctx_config"),
    (Ioctl.WAIT_CMD, {"hwctx": 1}, EOPNOTSUPP, "no ops->cmd_wait"),
    (Ioctl.EXEC_CMD, {"cmd_count": 1}, EOPNOTSUPP, "no ops->cmd_submit"),
    (Ioctl.GET_INFO, {"param": 1, "buffer_size": 64}, EOPNOTSUPP, "no ops->get_aie_info"),
    (Ioctl.GET_ARRAY, {}, EOPNOTSUPP, "no ops->get_array"),
    (Ioctl.CREATE_BO, {"size": 4096, "type": 1}, 0, "a PF's node makes BOs"),
]

USER_ROWS = [
    (Ioctl.SET_STATE, {}, EACCES, "drm_ioctl_permit: DRM_ROOT_ONLY"),
    (CoreIoctl.GEM_FLINK, {"handle": 1}, EACCES, "drm_ioctl_permit: DRM_AUTH"),
    (CoreIoctl.GEM_OPEN, {}, EACCES, "drm_ioctl_permit: DRM_AUTH"),
    (CoreIoctl.FINISH, {}, EACCES, "drm_ioctl_permit: DRM_AUTH"),
    (CoreIoctl.SET_MASTER, {}, EACCES, "drm_master_check_perm"),
    (CoreIoctl.DROP_MASTER, {}, EACCES, "drm_master_check_perm"),
    (CoreIoctl.SET_UNIQUE, {}, EACCES, "drm_ioctl_permit: DRM_ROOT_ONLY"),
]


def check(program: Program, request: int, values: dict[str, int], number: int) -> None:
    structure = STRUCTURES.get(int(request))
    argument = structure.pack(**values) if structure else bytes(request >> 16 & 0x3FFF)
    error, _ = program.raw(request, argument)
    assert error == number, f"{os.strerror(error)}, not {os.strerror(number)}"


def name(row: object) -> str:
    return str(row) if isinstance(row, str) else ""


@pytest.mark.parametrize(("request_", "values", "number", "why"), VF_ROWS, ids=name)
def test_a_vf_node(vf: Program, request_: int, values: dict[str, int], number: int, why: str) -> None:
    if os.geteuid() and request_ in (Ioctl.SET_STATE, CoreIoctl.SET_MASTER, CoreIoctl.DROP_MASTER):
        number = EACCES
    check(vf, request_, values, number)


@pytest.mark.parametrize(("request_", "values", "number", "why"), PF_ROWS, ids=name)
def test_a_pf_node(pf: Program, request_: int, values: dict[str, int], number: int, why: str) -> None:
    check(pf, request_, values, number)


@pytest.mark.parametrize(("request_", "values", "number", "why"), USER_ROWS, ids=name)
@pytest.mark.usefixtures("user")
def test_an_ordinary_user(vf: Program, request_: int, values: dict[str, int], number: int, why: str) -> None:
    check(vf, request_, values, number)


@pytest.mark.parametrize("request_", list(Ioctl) + list(CoreIoctl), ids=lambda number: number.name)
def test_an_argument_that_can_not_be_read(vf: Program, request_: int) -> None:
    """drm_ioctl: copy_from_user comes before permissions; what is only written faults afterwards."""
    call = vf.start(int(request_), BAD)
    assert call.ended.wait(PATIENCE)
    assert call.error == EFAULT if request_ >> 30 else call.error in (EINVAL, EACCES)


@pytest.mark.parametrize("size", [0, 4, 8, 47, 48, 64, 200])
def test_sizes_are_the_callers_and_zero_extends(vf: Program, size: int) -> None:
    """drm_ioctl: ksize is the larger of both; what is missing is 0, what is longer is copied back unchanged."""
    request = Ioctl.GET_BO_INFO & ~(0x3FFF << 16) | size << 16
    argument = (uapi.GET_BO_INFO.pack(handle=1) + b"\xa5" * 200)[:size]
    error, back = vf.raw(request, argument)
    # The handle lies at offset 16: without it the lookup is of 0.
    assert error == (0 if size >= 20 else ENOENT)
    assert back[48:] == argument[48:]
    if size >= 48:
        assert uapi.GET_BO_INFO.unpack(back).map_offset >= 1 << 32


def test_direction_bits_are_those_that_both_have(vf: Program) -> None:
    argument = uapi.GET_BO_INFO.pack(handle=1)
    written = Ioctl.GET_BO_INFO & ~(3 << 30) | 1 << 30
    assert vf.raw(written, argument) == (0, argument), "nothing is copied out"
    read = Ioctl.GET_BO_INFO & ~(3 << 30) | 2 << 30
    error, back = vf.raw(read, argument)
    assert error == ENOENT, "nothing was copied in"
    assert back == bytes(48), "what is copied out after an error is what the kernel had"
    # WAIT_CMD is write-only for the driver, whatever the caller says.
    wait = uapi.WAIT_CMD.pack(hwctx=9, timeout=1)
    assert vf.raw(Ioctl.WAIT_CMD | 3 << 30, wait) == (EINVAL, wait)


def test_a_function_that_is_gone(vf: Program, host: Machine) -> None:
    vf.sandbox.machine.nodes[vf.sandbox.nodes[0]].close()
    assert vf.errno(Ioctl.GET_BO_INFO, handle=1) == ENODEV
    assert vf.sandbox.open().errno(Ioctl.VERSION) == ENODEV
