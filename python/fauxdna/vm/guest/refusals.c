/* Calls that Linux 7.2's driver must refuse, with the errno that it must give (docs/errors.md). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

#include "abi.h"
#include "npu.h"

#define NO_SUCH 77 /* a handle that nothing has */
#define NEVER_SUBMITTED 5
#define WAIT_MS 50

static int wrong;

static void expect(const char *what, int expected, int got)
{
	printf("%s: %s", what, name_of_error(got));
	if (got != expected)
		printf(", not %s", name_of_error(expected));
	putchar('\n');
	wrong |= got != expected;
}

static int ask_context(int fd, struct amdxdna_drm_create_hwctx create)
{
	struct amdxdna_qos_info qos = { .priority = XDNA_PRIORITY_NORMAL };

	if (!create.qos_p)
		create.qos_p = (uintptr_t)&qos;
	return call(fd, XDNA_IOCTL_CREATE_HWCTX, &create);
}

static int get_info(int fd, uint32_t parameter)
{
	uint8_t room[256];
	struct amdxdna_drm_get_info info = { .param = parameter, .buffer_size = sizeof(room), .buffer = (uintptr_t)room };

	return call(fd, XDNA_IOCTL_GET_INFO, &info);
}

static void contexts(int fd)
{
	struct buffer queue = allocate(fd, 4096, XDNA_BO_TYPE_SHARE);
	struct amdxdna_drm_destroy_hwctx destroy = { .handle = NO_SUCH };
	struct amdxdna_drm_config_hwctx config = { .handle = NO_SUCH };

	expect("CREATE_HWCTX with an extension", EINVAL,
	       ask_context(fd, (struct amdxdna_drm_create_hwctx){ .ext = 1, .umq_bo = queue.handle, .num_tiles = 4 }));
	expect("CREATE_HWCTX with QoS at address 1", EFAULT,
	       ask_context(fd, (struct amdxdna_drm_create_hwctx){ .qos_p = 1, .umq_bo = queue.handle, .num_tiles = 4 }));
	expect("CREATE_HWCTX on an unknown queue", ENOENT,
	       ask_context(fd, (struct amdxdna_drm_create_hwctx){ .umq_bo = NO_SUCH, .num_tiles = 4 }));
	expect("CREATE_HWCTX of 0 tiles", EINVAL, ask_context(fd, (struct amdxdna_drm_create_hwctx){ .umq_bo = queue.handle }));
	expect("CREATE_HWCTX of 4000 tiles", EINVAL,
	       ask_context(fd, (struct amdxdna_drm_create_hwctx){ .umq_bo = queue.handle, .num_tiles = 4000 }));
	expect("DESTROY_HWCTX of none", EINVAL, call(fd, XDNA_IOCTL_DESTROY_HWCTX, &destroy));
	expect("CONFIG_HWCTX", EOPNOTSUPP, call(fd, XDNA_IOCTL_CONFIG_HWCTX, &config));
	release(fd, &queue);
}

static void buffers(int fd)
{
	struct amdxdna_drm_create_bo flags = { .flags = 1, .size = 4096, .type = XDNA_BO_TYPE_SHARE };
	struct amdxdna_drm_create_bo type = { .size = 4096, .type = 99 };
	struct amdxdna_drm_get_bo_info info = { .handle = NO_SUCH };
	struct amdxdna_drm_sync_bo sync = { .handle = NO_SUCH };
	struct drm_gem_close close = { .handle = NO_SUCH };

	expect("CREATE_BO with flags", EINVAL, call(fd, XDNA_IOCTL_CREATE_BO, &flags));
	expect("CREATE_BO of type 99", EINVAL, call(fd, XDNA_IOCTL_CREATE_BO, &type));
	expect("GET_BO_INFO of none", ENOENT, call(fd, XDNA_IOCTL_GET_BO_INFO, &info));
	expect("SYNC_BO of none", ENOENT, call(fd, XDNA_IOCTL_SYNC_BO, &sync));
	expect("GEM_CLOSE of none", EINVAL, call(fd, XDNA_IOCTL_GEM_CLOSE, &close));
}

static void waits(int fd)
{
	struct amdxdna_drm_wait_cmd wait = { .hwctx = NO_SUCH, .timeout = WAIT_MS };
	struct context context = create_context(fd, 1, 0);

	expect("WAIT_CMD in no context", EINVAL, call(fd, XDNA_IOCTL_WAIT_CMD, &wait));
	expect("WAIT_CMD for a command never submitted", ETIME, wait_for(&context, NEVER_SUBMITTED, WAIT_MS));
	destroy_context(&context);
}

static void the_rest(int fd)
{
	struct amdxdna_drm_get_array array = { .element_size = 64, .num_element = 1 };
	struct amdxdna_drm_set_state state = { .param = XDNA_STATE_PARAM_POWER_MODE };
	void *page = mmap(NULL, QUEUE_DOORBELL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x70000);

	expect("mmap of nobody's doorbell page", EINVAL, page == MAP_FAILED ? errno : 0);
	expect("GET_INFO AIE_STATUS", EOPNOTSUPP, get_info(fd, XDNA_INFO_PARAM_AIE_STATUS));
	expect("GET_INFO FIRMWARE_VERSION", EOPNOTSUPP, get_info(fd, XDNA_INFO_PARAM_FIRMWARE_VERSION));
	expect("GET_ARRAY", EOPNOTSUPP, call(fd, XDNA_IOCTL_GET_ARRAY, &array));
	expect("SET_STATE", EOPNOTSUPP, call(fd, XDNA_IOCTL_SET_STATE, &state));
}

int refusals(const struct node *node)
{
	int fd = open_node(node);

	wrong = 0;
	printf("%s %s\n", node->bdf, node->path);
	if (node->type == XDNA_DEVICE_TYPE_PF) {
		expect("CREATE_HWCTX on a PF", EOPNOTSUPP, ask_context(fd, (struct amdxdna_drm_create_hwctx){ .num_tiles = 4 }));
		expect("GET_INFO AIE_METADATA on a PF", EOPNOTSUPP, get_info(fd, XDNA_INFO_PARAM_AIE_METADATA));
	} else {
		contexts(fd);
		buffers(fd);
		waits(fd);
		the_rest(fd);
	}
	close(fd);
	return wrong;
}
