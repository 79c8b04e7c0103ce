/* Linux 7.2's AIE4 driver, unmodified, as one library, and what the test calls of it. */
#include "kernel.h"

#include "amdxdna_mailbox.c"
#include "amdxdna_mailbox_helper.c"
#include "aie_psp.c"
#include "aie_smu.c"
#include "aie.c"
#include "aie4_message.c"
#include "aie4_sriov.c"
#include "aie4_ctx.c"
#include "aie4_pci.c"
#include "npu3_regs.c"

#define FUNCTIONS 8
#define CONTEXTS 64

static struct pci_dev pdevs[FUNCTIONS];
static struct amdxdna_dev xdnas[FUNCTIONS];
static struct amdxdna_client clients[FUNCTIONS];
static struct amdxdna_hwctx hwctxs[CONTEXTS];
static int answers;

void start(const struct callbacks *callbacks)
{
	host = *callbacks;
	arena_used = 0;
}

void fire(int irq)
{
	if (irqs[irq].handler)
		irqs[irq].handler(irq, irqs[irq].data);
}

int probe(int function, int vf)
{
	struct amdxdna_dev *xdna = &xdnas[function];

	pdevs[function] = (struct pci_dev){ .device = vf ? 0x17f3 : 0x17f2, .revision = 0x10, .function = function };
	*xdna = (struct amdxdna_dev){ .ddev.dev = &pdevs[function].dev, .dev_info = vf ? &dev_npu3_vf_info : &dev_npu3_pf_info };
	return xdna->dev_info->ops->init(xdna);
}

void remove_function(int function)
{
	xdnas[function].dev_info->ops->fini(&xdnas[function]);
}

int sriov_configure(int function, int vfs)
{
	return xdnas[function].dev_info->ops->sriov_configure(&xdnas[function], vfs);
}

int create_context(int function, int slot, u32 tiles, u64 queue_address, u32 priority)
{
	clients[function] = (struct amdxdna_client){ .xdna = &xdnas[function], .pasid = -1 };
	hwctxs[slot] = (struct amdxdna_hwctx){
		.client = &clients[function],
		.queue.mem = { .size = PAGE_SIZE, .address = queue_address, .kva = host.arena + (queue_address - host.arena_address) },
		.qos.priority = priority,
		.name = "test",
		.num_tiles = tiles,
	};
	current_queue = &hwctxs[slot].queue;
	return xdnas[function].dev_info->ops->hwctx_init(&hwctxs[slot]);
}

int wait_command(int slot, u64 sequence, u32 timeout)
{
	return hwctxs[slot].client->xdna->dev_info->ops->cmd_wait(&hwctxs[slot], sequence, timeout);
}

u32 doorbell_offset(int slot)
{
	return hwctxs[slot].doorbell_offset;
}

void destroy_context(int slot)
{
	hwctxs[slot].client->xdna->dev_info->ops->hwctx_fini(&hwctxs[slot]);
}

int query_metadata(int function, struct amdxdna_drm_query_aie_metadata *metadata)
{
	return aie4_query_aie_metadata(xdnas[function].dev_handle, metadata);
}

int create_impossible_partition(int function)
{
	DECLARE_AIE_MSG(aie4_msg_create_partition, AIE4_MSG_OP_CREATE_PARTITION);

	req.partition_col_count = 99;
	return aie_send_mgmt_msg_wait(&xdnas[function].dev_handle->aie, &msg);
}

static int count_answer(void *handle, void *data, size_t size)
{
	answers += data && size == sizeof(struct aie4_msg_aie4_tile_info_resp);
	return 0;
}

/* Sends without waiting, then takes the answers: how many went out; -1 if other than as many came back. */
int send_burst(int function, int count)
{
	struct aie4_msg_aie4_tile_info_req request = { 0 };
	struct xdna_mailbox_msg message = {
		.opcode = AIE4_MSG_OP_AIE_TILE_INFO,
		.send_data = (u8 *)&request,
		.send_size = sizeof(request),
		.notify_cb = count_answer,
	};
	int sent = 0;

	answers = 0;
	while (sent < count && !xdna_mailbox_send_msg(xdnas[function].dev_handle->aie.mgmt_chann, &message, 0))
		sent++;
	for (int tries = 0; tries < 4 && answers < sent; tries++)
		host.wait();
	return answers == sent ? sent : -1;
}
