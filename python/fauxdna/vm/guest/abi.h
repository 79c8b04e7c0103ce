/* What both sides agree on. Generated from python/fauxdna/abi by python -m fauxdna.abi._c; do not edit. */
#ifndef ABI_H
#define ABI_H

#include <stdint.h>


/* From fauxdna.abi.uapi. */
#define XDNA_DRIVER_MAJOR 0
#define XDNA_DRIVER_MINOR 10
#define XDNA_INVALID_ADDRESS 0xffffffffffffffffull
#define XDNA_INVALID_CONTEXT 0
#define XDNA_INVALID_BO 0
#define XDNA_INVALID_DOORBELL 0xffffffffu
#define XDNA_MAP_OFFSET_BASE 0x100000000ull
enum xdna_device_type {
	XDNA_DEVICE_TYPE_UNKNOWN = -1,
	XDNA_DEVICE_TYPE_KMQ = 0,
	XDNA_DEVICE_TYPE_UMQ = 1,
	XDNA_DEVICE_TYPE_PF = 2,
};
enum xdna_bo_type {
	XDNA_BO_TYPE_INVALID = 0,
	XDNA_BO_TYPE_SHARE = 1,
	XDNA_BO_TYPE_DEV_HEAP = 2,
	XDNA_BO_TYPE_DEV = 3,
	XDNA_BO_TYPE_CMD = 4,
};
enum xdna_priority {
	XDNA_PRIORITY_REALTIME = 256,
	XDNA_PRIORITY_HIGH = 384,
	XDNA_PRIORITY_NORMAL = 512,
	XDNA_PRIORITY_LOW = 640,
};
enum xdna_sync_direction {
	XDNA_SYNC_DIRECTION_TO_DEVICE = 0,
	XDNA_SYNC_DIRECTION_FROM_DEVICE = 1,
};
enum xdna_config_param {
	XDNA_CONFIG_PARAM_CONFIG_CU = 0,
	XDNA_CONFIG_PARAM_ASSIGN_DEBUG_BUFFER = 1,
	XDNA_CONFIG_PARAM_REMOVE_DEBUG_BUFFER = 2,
};
enum xdna_command_type {
	XDNA_COMMAND_TYPE_EXEC_BUF = 0,
	XDNA_COMMAND_TYPE_DEPENDENCY = 1,
	XDNA_COMMAND_TYPE_SIGNAL = 2,
};
enum xdna_info_param {
	XDNA_INFO_PARAM_AIE_STATUS = 0,
	XDNA_INFO_PARAM_AIE_METADATA = 1,
	XDNA_INFO_PARAM_AIE_VERSION = 2,
	XDNA_INFO_PARAM_CLOCK_METADATA = 3,
	XDNA_INFO_PARAM_SENSORS = 4,
	XDNA_INFO_PARAM_HW_CONTEXTS = 5,
	XDNA_INFO_PARAM_FIRMWARE_VERSION = 8,
	XDNA_INFO_PARAM_POWER_MODE = 9,
	XDNA_INFO_PARAM_TELEMETRY = 10,
	XDNA_INFO_PARAM_FORCE_PREEMPT = 11,
	XDNA_INFO_PARAM_RESOURCE_INFO = 12,
	XDNA_INFO_PARAM_FRAME_BOUNDARY_PREEMPT = 13,
};
enum xdna_state_param {
	XDNA_STATE_PARAM_POWER_MODE = 0,
	XDNA_STATE_PARAM_WRITE_AIE_MEM = 1,
	XDNA_STATE_PARAM_WRITE_AIE_REG = 2,
	XDNA_STATE_PARAM_FORCE_PREEMPT = 3,
	XDNA_STATE_PARAM_FRAME_BOUNDARY_PREEMPT = 4,
};
enum xdna_array_param {
	XDNA_ARRAY_PARAM_HW_CONTEXT_ALL = 0,
	XDNA_ARRAY_PARAM_LAST_ASYNC_ERROR = 2,
	XDNA_ARRAY_PARAM_BO_USAGE = 6,
};
enum xdna_power_mode {
	XDNA_POWER_MODE_DEFAULT = 0,
	XDNA_POWER_MODE_LOW = 1,
	XDNA_POWER_MODE_MEDIUM = 2,
	XDNA_POWER_MODE_HIGH = 3,
	XDNA_POWER_MODE_TURBO = 4,
};
enum xdna_sensor_type {
	XDNA_SENSOR_TYPE_POWER = 0,
	XDNA_SENSOR_TYPE_COLUMN_UTILIZATION = 1,
};
enum xdna_context_state {
	XDNA_CONTEXT_STATE_IDLE = 0,
	XDNA_CONTEXT_STATE_ACTIVE = 1,
};
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_qos_info {
	uint32_t gops;
	uint32_t fps;
	uint32_t dma_bandwidth;
	uint32_t latency;
	uint32_t frame_exec_time;
	uint32_t priority;
};
_Static_assert(sizeof(struct amdxdna_qos_info) == 24, "amdxdna_qos_info");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_create_hwctx {
	uint64_t ext;
	uint64_t ext_flags;
	uint64_t qos_p;
	uint32_t umq_bo;
	uint32_t log_buf_bo;
	uint32_t max_opc;
	uint32_t num_tiles;
	uint32_t mem_size;
	uint32_t umq_doorbell;
	uint32_t handle;
	uint32_t syncobj_handle;
};
_Static_assert(sizeof(struct amdxdna_drm_create_hwctx) == 56, "amdxdna_drm_create_hwctx");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_destroy_hwctx {
	uint32_t handle;
	uint32_t pad;
};
_Static_assert(sizeof(struct amdxdna_drm_destroy_hwctx) == 8, "amdxdna_drm_destroy_hwctx");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_cu_config {
	uint32_t cu_bo;
	uint8_t cu_func;
	uint8_t pad[3];
};
_Static_assert(sizeof(struct amdxdna_cu_config) == 8, "amdxdna_cu_config");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_hwctx_param_config_cu {
	uint16_t num_cus;
	uint16_t pad[3];
};
_Static_assert(sizeof(struct amdxdna_hwctx_param_config_cu) == 8, "amdxdna_hwctx_param_config_cu");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_config_hwctx {
	uint32_t handle;
	uint32_t param_type;
	uint64_t param_val;
	uint32_t param_val_size;
	uint32_t pad;
};
_Static_assert(sizeof(struct amdxdna_drm_config_hwctx) == 24, "amdxdna_drm_config_hwctx");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_va_entry {
	uint64_t vaddr;
	uint64_t len;
};
_Static_assert(sizeof(struct amdxdna_drm_va_entry) == 16, "amdxdna_drm_va_entry");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_va_tbl {
	int32_t dmabuf_fd;
	uint32_t num_entries;
};
_Static_assert(sizeof(struct amdxdna_drm_va_tbl) == 8, "amdxdna_drm_va_tbl");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_create_bo {
	uint64_t flags;
	uint64_t vaddr;
	uint64_t size;
	uint32_t type;
	uint32_t handle;
};
_Static_assert(sizeof(struct amdxdna_drm_create_bo) == 32, "amdxdna_drm_create_bo");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_get_bo_info {
	uint64_t ext;
	uint64_t ext_flags;
	uint32_t handle;
	uint32_t pad;
	uint64_t map_offset;
	uint64_t vaddr;
	uint64_t xdna_addr;
};
_Static_assert(sizeof(struct amdxdna_drm_get_bo_info) == 48, "amdxdna_drm_get_bo_info");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_sync_bo {
	uint32_t handle;
	uint32_t direction;
	uint64_t offset;
	uint64_t size;
};
_Static_assert(sizeof(struct amdxdna_drm_sync_bo) == 24, "amdxdna_drm_sync_bo");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_exec_cmd {
	uint64_t ext;
	uint64_t ext_flags;
	uint32_t hwctx;
	uint32_t type;
	uint64_t cmd_handles;
	uint64_t args;
	uint32_t cmd_count;
	uint32_t arg_count;
	uint64_t seq;
};
_Static_assert(sizeof(struct amdxdna_drm_exec_cmd) == 56, "amdxdna_drm_exec_cmd");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_wait_cmd {
	uint32_t hwctx;
	uint32_t timeout;
	uint64_t seq;
};
_Static_assert(sizeof(struct amdxdna_drm_wait_cmd) == 16, "amdxdna_drm_wait_cmd");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_aie_status {
	uint64_t buffer;
	uint32_t buffer_size;
	uint32_t cols_filled;
};
_Static_assert(sizeof(struct amdxdna_drm_query_aie_status) == 16, "amdxdna_drm_query_aie_status");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_aie_version {
	uint32_t major;
	uint32_t minor;
};
_Static_assert(sizeof(struct amdxdna_drm_query_aie_version) == 8, "amdxdna_drm_query_aie_version");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_aie_tile_metadata {
	uint16_t row_count;
	uint16_t row_start;
	uint16_t dma_channel_count;
	uint16_t lock_count;
	uint16_t event_reg_count;
	uint16_t pad[3];
};
_Static_assert(sizeof(struct amdxdna_drm_query_aie_tile_metadata) == 16, "amdxdna_drm_query_aie_tile_metadata");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_aie_metadata {
	uint32_t col_size;
	uint16_t cols;
	uint16_t rows;
	uint32_t version_major;
	uint32_t version_minor;
	uint16_t core_row_count;
	uint16_t core_row_start;
	uint16_t core_dma_channel_count;
	uint16_t core_lock_count;
	uint16_t core_event_reg_count;
	uint16_t core_pad[3];
	uint16_t mem_row_count;
	uint16_t mem_row_start;
	uint16_t mem_dma_channel_count;
	uint16_t mem_lock_count;
	uint16_t mem_event_reg_count;
	uint16_t mem_pad[3];
	uint16_t shim_row_count;
	uint16_t shim_row_start;
	uint16_t shim_dma_channel_count;
	uint16_t shim_lock_count;
	uint16_t shim_event_reg_count;
	uint16_t shim_pad[3];
};
_Static_assert(sizeof(struct amdxdna_drm_query_aie_metadata) == 64, "amdxdna_drm_query_aie_metadata");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_clock {
	uint8_t name[16];
	uint32_t freq_mhz;
	uint32_t pad;
};
_Static_assert(sizeof(struct amdxdna_drm_query_clock) == 24, "amdxdna_drm_query_clock");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_clock_metadata {
	uint8_t mp_npu_clock_name[16];
	uint32_t mp_npu_clock_freq_mhz;
	uint32_t mp_npu_clock_pad;
	uint8_t h_clock_name[16];
	uint32_t h_clock_freq_mhz;
	uint32_t h_clock_pad;
};
_Static_assert(sizeof(struct amdxdna_drm_query_clock_metadata) == 48, "amdxdna_drm_query_clock_metadata");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_sensor {
	uint8_t label[64];
	uint32_t input;
	uint32_t max;
	uint32_t average;
	uint32_t highest;
	uint8_t status[64];
	uint8_t units[16];
	int8_t unitm;
	uint8_t type;
	uint8_t pad[6];
};
_Static_assert(sizeof(struct amdxdna_drm_query_sensor) == 168, "amdxdna_drm_query_sensor");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_hwctx {
	uint32_t context_id;
	uint32_t start_col;
	uint32_t num_col;
	uint32_t pad;
	int64_t pid;
	uint64_t command_submissions;
	uint64_t command_completions;
	uint64_t migrations;
	uint64_t preemptions;
	uint64_t errors;
};
_Static_assert(sizeof(struct amdxdna_drm_query_hwctx) == 64, "amdxdna_drm_query_hwctx");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_get_power_mode {
	uint8_t power_mode;
	uint8_t pad[7];
};
_Static_assert(sizeof(struct amdxdna_drm_get_power_mode) == 8, "amdxdna_drm_get_power_mode");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_firmware_version {
	uint32_t major;
	uint32_t minor;
	uint32_t patch;
	uint32_t build;
};
_Static_assert(sizeof(struct amdxdna_drm_query_firmware_version) == 16, "amdxdna_drm_query_firmware_version");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_get_resource_info {
	uint64_t npu_clk_max;
	uint64_t npu_tops_max;
	uint64_t npu_task_max;
	uint64_t npu_tops_curr;
	uint64_t npu_task_curr;
};
_Static_assert(sizeof(struct amdxdna_drm_get_resource_info) == 40, "amdxdna_drm_get_resource_info");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_attribute_state {
	uint8_t state;
	uint8_t pad[7];
};
_Static_assert(sizeof(struct amdxdna_drm_attribute_state) == 8, "amdxdna_drm_attribute_state");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_query_telemetry_header {
	uint32_t major;
	uint32_t minor;
	uint32_t type;
	uint32_t map_num_elements;
};
_Static_assert(sizeof(struct amdxdna_drm_query_telemetry_header) == 16, "amdxdna_drm_query_telemetry_header");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_get_info {
	uint32_t param;
	uint32_t buffer_size;
	uint64_t buffer;
};
_Static_assert(sizeof(struct amdxdna_drm_get_info) == 16, "amdxdna_drm_get_info");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_hwctx_entry {
	uint32_t context_id;
	uint32_t start_col;
	uint32_t num_col;
	uint32_t hwctx_id;
	int64_t pid;
	uint64_t command_submissions;
	uint64_t command_completions;
	uint64_t migrations;
	uint64_t preemptions;
	uint64_t errors;
	uint64_t priority;
	uint64_t heap_usage;
	uint64_t suspensions;
	uint32_t state;
	uint32_t pasid;
	uint32_t gops;
	uint32_t fps;
	uint32_t dma_bandwidth;
	uint32_t latency;
	uint32_t frame_exec_time;
	uint32_t txn_op_idx;
	uint32_t ctx_pc;
	uint32_t fatal_error_type;
	uint32_t fatal_error_exception_type;
	uint32_t fatal_error_exception_pc;
	uint32_t fatal_error_app_module;
	uint32_t pad;
};
_Static_assert(sizeof(struct amdxdna_drm_hwctx_entry) == 144, "amdxdna_drm_hwctx_entry");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_async_error {
	uint64_t err_code;
	uint64_t ts_us;
	uint64_t ex_err_code;
};
_Static_assert(sizeof(struct amdxdna_async_error) == 24, "amdxdna_async_error");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_bo_usage {
	int64_t pid;
	uint64_t total_usage;
	uint64_t internal_usage;
	uint64_t heap_usage;
};
_Static_assert(sizeof(struct amdxdna_drm_bo_usage) == 32, "amdxdna_drm_bo_usage");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_get_array {
	uint32_t param;
	uint32_t element_size;
	uint32_t num_element;
	uint32_t pad;
	uint64_t buffer;
};
_Static_assert(sizeof(struct amdxdna_drm_get_array) == 24, "amdxdna_drm_get_array");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_set_state {
	uint32_t param;
	uint32_t buffer_size;
	uint64_t buffer;
};
_Static_assert(sizeof(struct amdxdna_drm_set_state) == 16, "amdxdna_drm_set_state");
/* Linux 7.2 include/uapi/drm/amdxdna_accel.h */
struct amdxdna_drm_set_power_mode {
	uint8_t power_mode;
	uint8_t pad[7];
};
_Static_assert(sizeof(struct amdxdna_drm_set_power_mode) == 8, "amdxdna_drm_set_power_mode");
/* Linux 7.2 include/uapi/drm/drm.h */
struct drm_version {
	int32_t version_major;
	int32_t version_minor;
	int32_t version_patchlevel;
	uint32_t hole;
	uint64_t name_len;
	uint64_t name;
	uint64_t date_len;
	uint64_t date;
	uint64_t desc_len;
	uint64_t desc;
};
_Static_assert(sizeof(struct drm_version) == 64, "drm_version");
/* Linux 7.2 include/uapi/drm/drm.h */
struct drm_gem_close {
	uint32_t handle;
	uint32_t pad;
};
_Static_assert(sizeof(struct drm_gem_close) == 8, "drm_gem_close");
/* Linux 7.2 include/uapi/drm/drm.h */
struct drm_prime_handle {
	uint32_t handle;
	uint32_t flags;
	int32_t fd;
};
_Static_assert(sizeof(struct drm_prime_handle) == 12, "drm_prime_handle");
enum xdna_ioctl {
	XDNA_IOCTL_CREATE_HWCTX = 0xc0386440u,
	XDNA_IOCTL_DESTROY_HWCTX = 0xc0086441u,
	XDNA_IOCTL_CONFIG_HWCTX = 0xc0186442u,
	XDNA_IOCTL_CREATE_BO = 0xc0206443u,
	XDNA_IOCTL_GET_BO_INFO = 0xc0306444u,
	XDNA_IOCTL_SYNC_BO = 0xc0186445u,
	XDNA_IOCTL_EXEC_CMD = 0xc0386446u,
	XDNA_IOCTL_GET_INFO = 0xc0106447u,
	XDNA_IOCTL_SET_STATE = 0xc0106448u,
	XDNA_IOCTL_WAIT_CMD = 0x40106449,
	XDNA_IOCTL_GET_ARRAY = 0xc018644au,
	XDNA_IOCTL_VERSION = 0xc0406400u,
	XDNA_IOCTL_GEM_CLOSE = 0x40086409,
	XDNA_IOCTL_PRIME_HANDLE_TO_FD = 0xc00c642du,
	XDNA_IOCTL_PRIME_FD_TO_HANDLE = 0xc00c642eu,
};
#define XDNA_AMD_WAIT_CMD 0xc0106449u

/* From fauxdna.abi.host_queue. */
#define QUEUE_CAPACITY_MAX 32
#define QUEUE_PACKET_SIZE 64
#define QUEUE_PACKET_DATA_SIZE 48
#define QUEUE_DOORBELL_PAGE_SIZE 4096
#define QUEUE_DOORBELL_ARMED 0xffffffffu
#define QUEUE_DOORBELL_RING 0
#define QUEUE_DOORBELL_SLEEPING 64
#define QUEUE_DOORBELL_KICKS 128
#define QUEUE_INDIRECT_MAX 6
/* Linux 7.2 aie4_host_queue.h struct host_queue_header */
struct header_unpadded {
	uint64_t read_index;
	uint16_t major;
	uint16_t minor;
	uint32_t capacity;
	uint64_t write_index;
	uint64_t data_address;
};
_Static_assert(sizeof(struct header_unpadded) == 32, "header_unpadded");
/* amd/xdna-driver src/shim/umq host_queue.h */
struct header_padded {
	uint64_t read_index;
	uint16_t major;
	uint16_t minor;
	uint32_t capacity;
	uint64_t reserved0[6];
	uint64_t write_index;
	uint64_t reserved1[6];
	uint64_t data_address;
};
_Static_assert(sizeof(struct header_padded) == 128, "header_padded");
#define QUEUE_PADDED_MAJOR 1
#define QUEUE_MIRROR_WRITE_INDEX 16
enum queue_packet_type {
	QUEUE_PACKET_TYPE_VENDOR = 0,
};
enum queue_packet_opcode {
	QUEUE_PACKET_OPCODE_EXEC_BUF = 1,
	QUEUE_PACKET_OPCODE_TEST = 2,
	QUEUE_PACKET_OPCODE_EXIT = 3,
};
/* amd/xdna-driver src/shim/umq host_queue.h */
struct packet {
	uint8_t type;
	uint8_t reserved;
	uint8_t opcode;
	uint8_t chain;
	uint16_t count;
	uint8_t distribute;
	uint8_t indirect;
	uint64_t completion_signal;
	uint32_t data[12];
};
_Static_assert(sizeof(struct packet) == 64, "packet");
/* amd/xdna-driver src/shim/umq host_queue.h */
struct exec_buf {
	uint32_t dtrace_low;
	uint32_t code_low;
	uint32_t code_high;
	uint16_t args_length;
	uint16_t dtrace_high;
	uint32_t args_low;
	uint32_t args_high;
};
_Static_assert(sizeof(struct exec_buf) == 24, "exec_buf");
/* amd/xdna-driver src/shim/umq host_queue.h */
#define QUEUE_INDIRECT_ENTRY_WORDS 2
#define QUEUE_INDIRECT_ENTRY_ADDRESS_LOW_WORD 0
#define QUEUE_INDIRECT_ENTRY_ADDRESS_LOW_LOW 0
#define QUEUE_INDIRECT_ENTRY_ADDRESS_LOW_MASK 0xffffffffu
#define QUEUE_INDIRECT_ENTRY_ADDRESS_HIGH_WORD 1
#define QUEUE_INDIRECT_ENTRY_ADDRESS_HIGH_LOW 0
#define QUEUE_INDIRECT_ENTRY_ADDRESS_HIGH_MASK 0x1ffffff
#define QUEUE_INDIRECT_ENTRY_UC_WORD 1
#define QUEUE_INDIRECT_ENTRY_UC_LOW 25
#define QUEUE_INDIRECT_ENTRY_UC_MASK 127
/* amd/xdna-driver src/shim/umq host_queue.h */
struct indirect_payload {
	uint8_t type;
	uint8_t reserved;
	uint8_t opcode;
	uint8_t chain;
	uint16_t count;
	uint8_t distribute;
	uint8_t indirect;
	uint32_t dtrace_low;
	uint32_t code_low;
	uint32_t code_high;
	uint16_t args_length;
	uint16_t dtrace_high;
	uint32_t args_low;
	uint32_t args_high;
};
_Static_assert(sizeof(struct indirect_payload) == 32, "indirect_payload");
enum queue_completion_state {
	QUEUE_COMPLETION_STATE_NEW = 1,
	QUEUE_COMPLETION_STATE_COMPLETED = 4,
	QUEUE_COMPLETION_STATE_ERROR = 5,
	QUEUE_COMPLETION_STATE_ABORT = 6,
	QUEUE_COMPLETION_STATE_TIMEOUT = 8,
};
enum queue_context_error {
	QUEUE_CONTEXT_ERROR_EXIT = 0,
	QUEUE_CONTEXT_ERROR_NO_PDI = 1,
	QUEUE_CONTEXT_ERROR_PDI_LOAD = 2,
	QUEUE_CONTEXT_ERROR_INVALID_OPCODE = 3,
	QUEUE_CONTEXT_ERROR_INVALID_PACKET = 4,
	QUEUE_CONTEXT_ERROR_INVALID_PAGE = 5,
	QUEUE_CONTEXT_ERROR_TIMEOUT = 6,
};

/* From fauxdna.abi.elf. */
#define ELF_CLASS_32 1
#define ELF_DATA_LITTLE 1
#define ELF_VERSION 1
#define ELF_TYPE_EXECUTABLE 2
#define ELF_MACHINE 1
enum elf_platform {
	ELF_PLATFORM_AIE2P = 69,
	ELF_PLATFORM_AIE2PS_LEGACY = 70,
	ELF_PLATFORM_AIE2PS = 64,
	ELF_PLATFORM_AIE4 = 75,
	ELF_PLATFORM_AIE4A = 86,
	ELF_PLATFORM_AIE4Z = 105,
};
#define ELF_ABI_PAGES 32
#define ELF_ABI_MERGED 33
#define ELF_ABI_GROUPS 3
#define ELF_ABI_PACKED_ADDEND 1
#define ELF_ADDEND_SCHEMA_MASK 15
#define ELF_ADDEND_SHIFT 4
enum elf_section_type {
	ELF_SECTION_TYPE_NULL = 0,
	ELF_SECTION_TYPE_PROGBITS = 1,
	ELF_SECTION_TYPE_SYMTAB = 2,
	ELF_SECTION_TYPE_STRTAB = 3,
	ELF_SECTION_TYPE_RELA = 4,
	ELF_SECTION_TYPE_DYNAMIC = 6,
	ELF_SECTION_TYPE_NOTE = 7,
	ELF_SECTION_TYPE_DYNSYM = 11,
	ELF_SECTION_TYPE_GROUP = 17,
};
enum elf_symbol_type {
	ELF_SYMBOL_TYPE_NONE = 0,
	ELF_SYMBOL_TYPE_OBJECT = 1,
	ELF_SYMBOL_TYPE_FUNCTION = 2,
};
#define ELF_BIND_GLOBAL 1
#define ELF_BIND_WEAK 2
#define ELF_FLAG_WRITE 1
#define ELF_FLAG_ALLOC 2
#define ELF_FLAG_EXECUTE 4
#define ELF_SEGMENT_LOAD 1
#define ELF_SEGMENT_HEADERS 6
#define ELF_SEGMENT_READ 4
#define ELF_SEGMENT_WRITE 2
#define ELF_SEGMENT_EXECUTE 1
#define ELF_GROUP_COMDAT 1
#define ELF_DYNAMIC_RELA 7
#define ELF_DYNAMIC_RELA_SIZE 8
#define ELF_TEXT ".ctrltext"
#define ELF_DATA ".ctrldata"
#define ELF_CONTROL_PACKETS ".ctrlpkt"
#define ELF_WEIGHTS ".ctrlpkt-weights"
#define ELF_PAD ".pad"
#define ELF_GROUP ".group"
#define ELF_NOTE_CONFIGURATION ".note.xrt.configuration"
#define ELF_NOTE_UID ".note.xrt.UID"
#define ELF_NOTE_TYPE_UID 4
#define ELF_NOTE_TYPE_CONFIGURATION 6
#define ELF_SCRATCH_PAD_SYMBOL "scratch-pad-mem"
#define ELF_CONTROL_CODE_SYMBOL "control-code-"
#define ELF_SCRATCH_PAD_SIZE 0x300000
#define ELF_KERNEL "DPU"
#define ELF_INSTANCE "inst0"
#define ELF_IDENT_SIZE 16
/* System V ABI, ELF32 */
struct elf_header {
	uint8_t ident[16];
	uint16_t type;
	uint16_t machine;
	uint32_t version;
	uint32_t entry;
	uint32_t program_offset;
	uint32_t section_offset;
	uint32_t flags;
	uint16_t header_size;
	uint16_t program_size;
	uint16_t program_count;
	uint16_t section_size;
	uint16_t section_count;
	uint16_t names_index;
};
_Static_assert(sizeof(struct elf_header) == 52, "elf_header");
#define ELF_IDENT_OSABI 7
#define ELF_IDENT_ABI_VERSION 8
/* System V ABI, ELF32 */
struct elf_section {
	uint32_t name;
	uint32_t type;
	uint32_t flags;
	uint32_t address;
	uint32_t offset;
	uint32_t size;
	uint32_t link;
	uint32_t info;
	uint32_t align;
	uint32_t entry_size;
};
_Static_assert(sizeof(struct elf_section) == 40, "elf_section");
/* System V ABI, ELF32 */
struct elf_segment {
	uint32_t type;
	uint32_t offset;
	uint32_t virtual;
	uint32_t physical;
	uint32_t file_size;
	uint32_t memory_size;
	uint32_t flags;
	uint32_t align;
};
_Static_assert(sizeof(struct elf_segment) == 32, "elf_segment");
/* XRT 2.25 xrt_elf.cpp */
struct elf_symbol {
	uint32_t name;
	uint32_t value;
	uint32_t size;
	uint8_t info;
	uint8_t other;
	uint16_t section;
};
_Static_assert(sizeof(struct elf_symbol) == 16, "elf_symbol");
/* System V ABI, ELF32 */
struct elf_relocation {
	uint32_t offset;
	uint32_t info;
	int32_t addend;
};
_Static_assert(sizeof(struct elf_relocation) == 12, "elf_relocation");
/* System V ABI, ELF32 */
struct elf_note {
	uint32_t owner_size;
	uint32_t size;
	uint32_t type;
};
_Static_assert(sizeof(struct elf_note) == 12, "elf_note");

/* From fauxdna.abi.control_code. */
#define CODE_PAGE_SIZE 0x2000
#define CODE_PAGE_HEADER_SIZE 16
#define CODE_MAX_UC 6
enum code_relocation {
	CODE_RELOCATION_UC_DMA_REMOTE_POINTER = 1,
	CODE_RELOCATION_SHIM_DMA_57 = 2,
	CODE_RELOCATION_SCALAR_32 = 3,
	CODE_RELOCATION_CONTROL_PACKET_48 = 4,
	CODE_RELOCATION_SHIM_DMA_48 = 5,
	CODE_RELOCATION_SHIM_DMA_57_AIE4 = 6,
	CODE_RELOCATION_CONTROL_PACKET_57 = 7,
	CODE_RELOCATION_ADDRESS_64 = 8,
	CODE_RELOCATION_CONTROL_PACKET_57_AIE4 = 9,
};

/* From fauxdna.abi.array. */
#define ARRAY_COLUMNS 3
#define ARRAY_SHIM_ADDRESS_OFFSET 0x80000000u

/* From fauxdna.abi.messages. */
#define MESSAGE_TILES_PER_COLUMN 4

/* Where a relocation schema keeps an address; high: word, bits, first address bit. */
static const struct elf_address_form {
	uint8_t schema, low, offset, replace;
	struct { uint8_t word, bits, shift; } high[2]; /* bits 0: none */
} elf_address_forms[] = {
	{ 2, 1, 0, 0, { { 2, 16, 32 }, { 8, 9, 48 } } },
	{ 4, 2, 1, 0, { { 3, 12, 32 } } },
	{ 5, 1, 1, 0, { { 2, 16, 32 } } },
	{ 6, 1, 1, 0, { { 0, 25, 32 } } },
	{ 7, 2, 0, 0, { { 3, 12, 32 } } },
	{ 8, 0, 0, 1, { { 1, 32, 32 } } },
	{ 9, 2, 1, 0, { { 1, 25, 32 } } },
};

#endif
