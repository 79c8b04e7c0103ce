"""Every errno that an AIE4 VF's node of Linux 7.2 can return, ioctl by ioctl, read from the kernel's source.

``drm_ioctl`` adds ``EFAULT`` to each whose descriptor copies anything in or out, and says ``EINVAL`` for what has no function.
What the kernel says only when it has no memory left for a small object is not listed; ``kmalloc`` of what the caller sizes is.
"""

from __future__ import annotations

from errno import (
    EACCES,
    EBADF,
    EBUSY,
    EFAULT,
    EINTR,
    EINVAL,
    EMFILE,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ETIME,
)

from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import Ioctl

_FUNCTION_OF_NONE = {EINVAL}
"""``drm_ioctl``: a number past the table, or without a function."""
_NO_DISPLAY = {EOPNOTSUPP}
"""``drm_core_check_feature(DRIVER_MODESET)``, the first look of these."""
_NO_MASTER = {EACCES}
"""``drm_ioctl_permit``: ``DRM_MASTER``, and no file of an accel node is one."""
_ARRAY = {0, EINVAL, ENOENT, ENOMEM}
"""``drm_syncobj_array_find`` and a look at flags, pad and count before it."""

_ANYBODY: dict[int, set[int]] = {
    # amdxdna_drm_create_hwctx_ioctl, aie4_hwctx_init, aie4_hwctx_create; amdxdna_gem_vmap: ENOMEM; xa_alloc_cyclic: EBUSY
    Ioctl.CREATE_HWCTX: {0, EINVAL, ENOENT, ENOMEM, EBUSY},
    # amdxdna_drm_destroy_hwctx_ioctl
    Ioctl.DESTROY_HWCTX: {0, EINVAL},
    # amdxdna_drm_config_hwctx_ioctl: aie4_vf_ops has no hwctx_config
    Ioctl.CONFIG_HWCTX: {EINVAL, EOPNOTSUPP},
    # amdxdna_drm_create_bo_ioctl; amdxdna_get_ubuf: EPERM, ENOMEM, EFAULT of pin_user_pages_fast; dma_buf_get: EBADF;
    # drm_vma_offset_add: ENOSPC; drm_gem_shmem_create: EINVAL
    Ioctl.CREATE_BO: {0, EINVAL, EPERM, ENOMEM, EBADF, ENOSPC},
    # amdxdna_drm_get_bo_info_ioctl
    Ioctl.GET_BO_INFO: {0, EINVAL, ENOENT},
    # amdxdna_drm_sync_bo_ioctl, amdxdna_flush_bo; amdxdna_hwctx_sync_debug_bo
    Ioctl.SYNC_BO: {0, EINVAL, ENOENT, EOPNOTSUPP},
    # amdxdna_drm_submit_cmd_ioctl, amdxdna_drm_submit_execbuf, amdxdna_cmd_submit: aie4_vf_ops has no cmd_submit
    Ioctl.EXEC_CMD: {EINVAL, EOPNOTSUPP},
    # amdxdna_drm_wait_cmd_ioctl, aie4_cmd_wait
    Ioctl.WAIT_CMD: {0, EINVAL, ETIME, EINTR},
    # amdxdna_drm_get_info_ioctl, aie4_get_info, amdxdna_get_metadata
    Ioctl.GET_INFO: {0, EOPNOTSUPP},
    # amdxdna_drm_get_array_ioctl: aie4_vf_ops has no get_array
    Ioctl.GET_ARRAY: {EOPNOTSUPP},
    # drm_version, drm_copy_field
    Ioctl.VERSION: {0},
    # drm_gem_handle_delete
    Ioctl.GEM_CLOSE: {0, EINVAL},
    # drm_prime_handle_to_fd_ioctl, get_unused_fd_flags, drm_gem_prime_handle_to_dmabuf, amdxdna_gem_prime_export
    Ioctl.PRIME_HANDLE_TO_FD: {0, EINVAL, EMFILE, ENOENT, EOPNOTSUPP},
    # drm_gem_prime_fd_to_handle, dma_buf_get
    Ioctl.PRIME_FD_TO_HANDLE: {0, EBADF, EINVAL},
    # drm_getclient, drm_getstats, drm_getcap, drm_setclientcap, drm_set_client_name
    CoreIoctl.GET_CLIENT: {0, EINVAL},
    CoreIoctl.GET_STATS: {0},
    CoreIoctl.GET_CAP: {0, EOPNOTSUPP},
    CoreIoctl.SET_CLIENT_CAP: {EOPNOTSUPP},
    CoreIoctl.SET_CLIENT_NAME: {0, EINVAL},
    # drm_getunique, drm_getmagic follow a null pointer in Linux 7.2; here they are refused (docs/uapi.md)
    CoreIoctl.GET_UNIQUE: {EINVAL},
    CoreIoctl.GET_MAGIC: {EINVAL},
    # drm_invalid_op
    CoreIoctl.GEM_CHANGE_HANDLE: {EINVAL},
    # drm_mode_getfb2_ioctl; drm_mode_create_dumb, drm_mode_mmap_dumb_ioctl, drm_mode_destroy_dumb
    CoreIoctl.MODE_GETFB2: {EINVAL},
    CoreIoctl.MODE_CREATE_DUMB: {ENOSYS},
    CoreIoctl.MODE_MAP_DUMB: {ENOSYS},
    CoreIoctl.MODE_DESTROY_DUMB: {ENOSYS},
    # drm_syncobj_create_ioctl, drm_syncobj_destroy
    CoreIoctl.SYNCOBJ_CREATE: {0, EINVAL},
    CoreIoctl.SYNCOBJ_DESTROY: {0, EINVAL},
    # drm_syncobj_get_fd, drm_syncobj_export_sync_file: get_unused_fd_flags; drm_syncobj_find_fence
    CoreIoctl.SYNCOBJ_HANDLE_TO_FD: {0, EINVAL, EMFILE, ENOENT},
    # drm_syncobj_fd_to_handle, drm_syncobj_import_sync_file_fence
    CoreIoctl.SYNCOBJ_FD_TO_HANDLE: {0, EINVAL, ENOENT},
    # drm_syncobj_transfer_ioctl, drm_syncobj_find_fence
    CoreIoctl.SYNCOBJ_TRANSFER: {0, EINVAL, ENOENT, ETIME, EINTR},
    # drm_syncobj_array_wait_timeout
    CoreIoctl.SYNCOBJ_WAIT: _ARRAY | {ETIME, EINTR},
    CoreIoctl.SYNCOBJ_TIMELINE_WAIT: _ARRAY | {ETIME, EINTR},
    CoreIoctl.SYNCOBJ_RESET: _ARRAY,
    CoreIoctl.SYNCOBJ_SIGNAL: _ARRAY,
    CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL: _ARRAY,
    CoreIoctl.SYNCOBJ_QUERY: _ARRAY,
    # drm_syncobj_eventfd_ioctl, eventfd_ctx_fdget
    CoreIoctl.SYNCOBJ_EVENTFD: {0, EINVAL, ENOENT, EBADF},
    **dict.fromkeys(
        (
            CoreIoctl.WAIT_VBLANK,
            CoreIoctl.CRTC_GET_SEQUENCE,
            CoreIoctl.CRTC_QUEUE_SEQUENCE,
            CoreIoctl.MODE_GETRESOURCES,
            CoreIoctl.MODE_GETPLANERESOURCES,
            CoreIoctl.MODE_GETCRTC,
            CoreIoctl.MODE_GETPLANE,
            CoreIoctl.MODE_GETGAMMA,
            CoreIoctl.MODE_GETENCODER,
            CoreIoctl.MODE_GETCONNECTOR,
            CoreIoctl.MODE_GETPROPERTY,
            CoreIoctl.MODE_GETPROPBLOB,
            CoreIoctl.MODE_GETFB,
            CoreIoctl.MODE_ADDFB,
            CoreIoctl.MODE_ADDFB2,
            CoreIoctl.MODE_RMFB,
            CoreIoctl.MODE_CLOSEFB,
            CoreIoctl.MODE_OBJ_GETPROPERTIES,
            CoreIoctl.MODE_CREATEPROPBLOB,
            CoreIoctl.MODE_DESTROYPROPBLOB,
        ),
        _NO_DISPLAY,
    ),
    **dict.fromkeys(
        (
            CoreIoctl.SET_VERSION,
            CoreIoctl.SET_UNIQUE,
            CoreIoctl.BLOCK,
            CoreIoctl.UNBLOCK,
            CoreIoctl.AUTH_MAGIC,
            CoreIoctl.ADD_DRAW,
            CoreIoctl.RM_DRAW,
            CoreIoctl.UPDATE_DRAW,
            CoreIoctl.MODE_SETCRTC,
            CoreIoctl.MODE_SETPLANE,
            CoreIoctl.MODE_CURSOR,
            CoreIoctl.MODE_CURSOR2,
            CoreIoctl.MODE_SETGAMMA,
            CoreIoctl.MODE_ATTACHMODE,
            CoreIoctl.MODE_DETACHMODE,
            CoreIoctl.MODE_SETPROPERTY,
            CoreIoctl.MODE_PAGE_FLIP,
            CoreIoctl.MODE_DIRTYFB,
            CoreIoctl.MODE_OBJ_SETPROPERTY,
            CoreIoctl.MODE_ATOMIC,
            CoreIoctl.MODE_CREATE_LEASE,
            CoreIoctl.MODE_LIST_LESSEES,
            CoreIoctl.MODE_GET_LEASE,
            CoreIoctl.MODE_REVOKE_LEASE,
        ),
        _NO_MASTER,
    ),
}
_ROOT: dict[int, set[int]] = {
    # amdxdna_drm_set_state_ioctl: aie4_vf_ops has no set_aie_state
    Ioctl.SET_STATE: {EOPNOTSUPP},
    # drm_gem_flink_ioctl, drm_gem_open_ioctl, drm_noop
    CoreIoctl.GEM_FLINK: {0, ENOENT},
    CoreIoctl.GEM_OPEN: {0, ENOENT},
    CoreIoctl.FINISH: {0},
    # drm_setmaster_ioctl, drm_dropmaster_ioctl: file_priv->master is null
    CoreIoctl.SET_MASTER: {EINVAL},
    CoreIoctl.DROP_MASTER: {EINVAL},
}
"""With CAP_SYS_ADMIN; without it ``drm_ioctl_permit`` and ``drm_master_check_perm`` say ``EACCES``."""


def possible(*, root: bool) -> dict[int, set[int]]:
    """What each ioctl may return to a program, by the low byte of its number; what has no entry may say ``EINVAL`` alone."""
    answers = _ANYBODY | (_ROOT if root else dict.fromkeys(_ROOT, _NO_MASTER))
    assert set(answers) == {*Ioctl, *CoreIoctl}
    copying = {number & 0xFF: said | ({EFAULT} if number >> 30 else set()) for number, said in answers.items()}
    return {number: copying.get(number, _FUNCTION_OF_NONE) for number in range(256)}
