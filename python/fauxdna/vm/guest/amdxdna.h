/* What the probe needs of Linux 7.2's include/uapi/drm/amdxdna_accel.h, declared anew so that it builds with any headers. */
#ifndef FAUXDNA_AMDXDNA_H
#define FAUXDNA_AMDXDNA_H

#include <stdint.h>
#include <sys/ioctl.h>

enum { DEVICE_UMQ = 1, DEVICE_PF = 2 }; /* sysfs device_type: a VF has user-mode queues, a PF none */
enum { BO_SHARE = 1, BO_CMD = 4 };
enum { INFO_AIE_METADATA = 1 };

struct create_hwctx {
	uint64_t ext, ext_flags, qos;
	uint32_t queue_bo, log_bo, max_opc, tiles, mem_size, doorbell, handle, syncobj;
};
struct destroy_hwctx {
	uint32_t handle, pad;
};
struct create_bo {
	uint64_t flags, address, size;
	uint32_t type, handle;
};
struct get_bo_info {
	uint64_t ext, ext_flags;
	uint32_t handle, pad;
	uint64_t map_offset, user_address, device_address;
};
struct get_info {
	uint32_t param, size;
	uint64_t buffer;
};
struct wait_cmd {
	uint32_t hwctx, timeout_ms;
	uint64_t sequence;
};
struct gem_close {
	uint32_t handle, pad;
};
struct qos {
	uint32_t gops, fps, dma_bandwidth, latency, frame_exec_time, priority;
};
struct tile_metadata {
	uint16_t rows, row_start, dma_channels, locks, event_registers, pad[3];
};
struct aie_metadata {
	uint32_t column_size;
	uint16_t columns, rows;
	uint32_t major, minor;
	struct tile_metadata core, mem, shim;
};

#define AMDXDNA_IOCTL(number, type) _IOWR('d', 0x40 + (number), type)
#define CREATE_HWCTX AMDXDNA_IOCTL(0, struct create_hwctx)
#define DESTROY_HWCTX AMDXDNA_IOCTL(1, struct destroy_hwctx)
#define CREATE_BO AMDXDNA_IOCTL(3, struct create_bo)
#define GET_BO_INFO AMDXDNA_IOCTL(4, struct get_bo_info)
#define GET_INFO AMDXDNA_IOCTL(7, struct get_info)
#define WAIT_CMD AMDXDNA_IOCTL(9, struct wait_cmd)
#define GEM_CLOSE _IOW('d', 0x09, struct gem_close)

_Static_assert(sizeof(struct create_hwctx) == 56, "");
_Static_assert(sizeof(struct create_bo) == 32, "");
_Static_assert(sizeof(struct get_bo_info) == 48, "");
_Static_assert(sizeof(struct get_info) == 16, "");
_Static_assert(sizeof(struct wait_cmd) == 16, "");
_Static_assert(sizeof(struct aie_metadata) == 64, "");

#endif
