/* The kernel that Linux 7.2's AIE4 driver sees when it is compiled as a user-space library: no more than it uses.
 *
 * Register accesses, waiting for an interrupt, logging, firmware files and SR-IOV go to callbacks; memory that the device may
 * reach comes from an arena that the test maps for DMA; interrupts are handlers that the test calls. Single-threaded.
 */
#pragma once

#include <asm/errno.h>
#include <linux/types.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;
typedef int irqreturn_t;
typedef irqreturn_t (*irq_handler_t)(int, void *);

/* What the test provides. */
struct callbacks {
	u32 (*read)(u64 address);
	void (*write)(u64 address, u32 value);
	void (*wait)(void);
	void (*log)(const char *text);
	int (*sriov)(int vfs);
	const void *(*firmware)(const char *name, size_t *size);
	char *arena;
	u64 arena_address;
};
struct callbacks host;
u64 arena_used;

/* Compiler and arithmetic. */
#undef __packed
#define __packed __attribute__((packed))
#define __iomem
#define __counted_by(field)
#define likely(x) (x)
#define unlikely(x) (x)
#define static_assert _Static_assert
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))
#define BIT(n) (1U << (n))
#define GENMASK(high, low) ((~0UL << (low)) & (~0UL >> (63 - (high))))
#define FIELD_PREP(mask, v) (((u64)(v) << __builtin_ctzl(mask)) & (mask))
#define FIELD_GET(mask, v) (((u64)(v) & (mask)) >> __builtin_ctzl(mask))
#define IS_ALIGNED(x, a) (((x) & ((a) - 1)) == 0)
#define ALIGN(x, a) (((x) + (a) - 1) & ~((typeof(x))(a) - 1))
#define DIV_ROUND_CLOSEST(a, b) (((a) + (b) / 2) / (b))
#define is_power_of_2(n) ((n) && !((n) & ((n) - 1)))
#define lower_32_bits(x) ((u32)(x))
#define upper_32_bits(x) ((u32)((u64)(x) >> 32))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max_t(type, a, b) ((type)(a) > (type)(b) ? (type)(a) : (type)(b))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define IS_ENABLED(option) 1
#define CONFIG_PCI_IOV 1
#define SZ_8K 0x2000
#define SZ_4M 0x400000
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define MAX_PAGE_ORDER 10
#define PHYS_PFN(address) ((address) >> PAGE_SHIFT)
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-4095)
#define PTR_ERR(p) ((long)(p))
#define ERR_PTR(error) ((void *)(long)(error))
#define u64_to_user_ptr(x) ((void *)(unsigned long)(x))

/* Memory. */
#define GFP_KERNEL 0
#define GFP_NOWAIT 0
#define DMA_FROM_DEVICE 0
#define DMA_BIT_MASK(bits) 0
#define kzalloc(size, flags) calloc(1, size)
#define kzalloc_obj(object) calloc(1, sizeof(object))
#define kfree free
#define drmm_kzalloc(device, size, flags) calloc(1, size)
#define drmm_kfree(device, p) free(p)
#define drmm_kmalloc(device, size, flags) arena_alloc(size)
#define virt_to_phys(p) (host.arena_address + ((char *)(p) - host.arena))
#define dma_alloc_noncoherent(device, size, address, direction, flags) \
	({ void *_memory = arena_alloc(size); *(address) = virt_to_phys(_memory); _memory; })
#define dma_free_noncoherent(device, size, p, address, direction) ((void)(p))
#define dma_set_mask_and_coherent(device, mask) 0

static void *arena_alloc(size_t size)
{
	void *memory = host.arena + arena_used;

	arena_used += ALIGN(size, PAGE_SIZE);
	return memset(memory, 0xa5, size); /* the tail of a firmware buffer is not initialised */
}

static int get_order(u32 size)
{
	int order = 0;

	while (PAGE_SIZE << order < size)
		order++;
	return order;
}

static int copy_to_user(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	return 0;
}

/* Registers. */
#define readl(address) host.read((u64)(address))
#define writel(value, address) host.write((u64)(address), value)
#define POLLS 50
#define readx_poll_timeout(op, address, value, condition, sleep, timeout) \
	({ for (int _i = 0; _i < POLLS; _i++) { (value) = op(address); if (condition) break; } (condition) ? 0 : -ETIMEDOUT; })
#define read_poll_timeout(op, value, condition, sleep, timeout, before, args...) \
	({ for (int _i = 0; _i < POLLS; _i++) { (value) = op(args); if (condition) break; } (condition) ? 0 : -ETIMEDOUT; })

static void memcpy_toio(void *to, const void *from, size_t size)
{
	for (size_t at = 0; at < size; at += 4)
		writel(*(u32 *)((char *)from + at), (char *)to + at);
}

static void memcpy_fromio(void *to, const void *from, size_t size)
{
	for (size_t at = 0; at < size; at += 4)
		*(u32 *)((char *)to + at) = readl((char *)from + at);
}

/* Messages: errors and warnings reach the test. */
static void report(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	host.log(text);
}

#define dev_err(device, ...) report(__VA_ARGS__)
#define dev_warn_once(device, ...) report(__VA_ARGS__)
#define dev_dbg(device, ...) ((void)0)
#define drm_err(device, ...) report(__VA_ARGS__)
#define drm_dbg(device, ...) ((void)0)
#define drm_WARN_ON(device, condition) ((void)(condition))
#define pr_err(...) report(__VA_ARGS__)
#define print_hex_dump_debug(...) ((void)0)
#define trace_mbox_set_tail(...) ((void)0)
#define trace_mbox_set_head(...) ((void)0)
#define trace_mbox_irq_handle(...) ((void)0)
#define trace_mbox_rx_worker(...) ((void)0)

/* Locks, waiting, work, interrupts: one thread, so locks are nothing and work runs at once. */
struct mutex { int unused; };
struct kref { int count; };
struct completion { int done; };
struct workqueue_struct { int unused; };
struct work_struct { void (*function)(struct work_struct *); };
typedef struct { int unused; } wait_queue_head_t;

#define guard(kind) (void)sizeof
#define mutex_init(m) ((void)(m))
#define mutex_is_locked(m) 1
#define srcu_read_lock(s) 0
#define srcu_read_unlock(s, index) ((void)(index))
#define kref_init(k) ((k)->count = 1)
#define kref_get(k) ((k)->count++)
#define kref_put(k, release) ({ if (!--(k)->count) release(k); })
#define COMPLETION_INITIALIZER_ONSTACK(c) { 0 }
#define complete(c) ((c)->done = 1)
#define msecs_to_jiffies(ms) (ms)
#define MAX_SCHEDULE_TIMEOUT 0x7fffffffL
#define init_waitqueue_head(q) ((void)(q))
#define wake_up_all(q) ((void)(q))
/* A jiffy is one look at the interrupts, which takes up to 50 ms. */
#define wait_event_interruptible_timeout(q, condition, timeout) \
	({ for (long _i = 0; _i < (timeout) && !(condition); _i++) host.wait(); (condition) ? 1L : 0L; })
#define usleep_range(least, most) ((void)0)
#define INIT_WORK(work, f) ((work)->function = (f))
#define create_singlethread_workqueue(name) calloc(1, sizeof(struct workqueue_struct))
#define destroy_workqueue free
#define drain_workqueue(queue) ((void)(queue))
#define queue_work(queue, work) ((work)->function(work))
#define IRQ_HANDLED 1
#define IRQS 64

static struct { irq_handler_t handler; void *data; } irqs[IRQS];

static int request_irq(int irq, irq_handler_t handler, int flags, const char *name, void *data)
{
	if (irqs[irq].handler)
		return -EBUSY;
	irqs[irq].handler = handler;
	irqs[irq].data = data;
	return 0;
}

static void free_irq(int irq, void *data)
{
	irqs[irq].handler = NULL;
}

static long wait_for_completion_timeout(struct completion *completion, long timeout)
{
	for (int tries = 0; tries < 3 && !completion->done; tries++)
		host.wait();
	return completion->done;
}

/* xarray: slots. */
#define XA_SLOTS 1024
#define XA_FLAGS_ALLOC 0
#define XA_FLAGS_LOCK_IRQ 0
#define XA_LIMIT(first, last) (last)
struct xarray { void *slot[XA_SLOTS]; };

#define xa_init_flags(xa, flags) memset(xa, 0, sizeof(*(xa)))
#define xa_destroy(xa) ((void)(xa))
#define xa_load(xa, index) ((xa)->slot[index])
#define xa_store(xa, index, p, flags) ((xa)->slot[index] = (p), (void *)NULL)
#define xa_err(entry) ((entry) ? -ENOMEM : 0)
#define xa_erase xa_erase_irq
#define xa_for_each_start(xa, index, entry, first) \
	for (index = (first); index < XA_SLOTS; index++) if ((entry = (xa)->slot[index]))
#define xa_for_each_range(xa, index, entry, first, last) \
	for (index = (first); index <= (unsigned long)(last) && index < XA_SLOTS; index++) if ((entry = (xa)->slot[index]))

static void *xa_erase_irq(struct xarray *xa, unsigned long index)
{
	void *entry = index < XA_SLOTS ? xa->slot[index] : NULL;

	if (entry)
		xa->slot[index] = NULL;
	return entry;
}

static int xa_alloc_cyclic_irq(struct xarray *xa, u32 *id, void *entry, u32 last, u32 *next, int flags)
{
	for (u32 step = 0; step <= last; step++) {
		u32 index = (*next + step) % (last + 1);

		if (xa->slot[index])
			continue;
		xa->slot[index] = entry;
		*id = index;
		*next = (index + 1) % (last + 1);
		return 0;
	}
	return -EBUSY;
}

/* PCI: a BAR's "mapping" is function << 40 | (BAR + 1) << 32; an interrupt is function * 8 + vector. */
#define PCI_NUM_RESOURCES 17
#define PCI_IRQ_MSIX 0
#define VECTORS 8
struct device { int unused; };
struct pci_dev { struct device dev; u16 device; u8 revision; int function; };

#define to_pci_dev(d) container_of(d, struct pci_dev, dev)
#define pcim_enable_device(pdev) 0
#define pci_set_master(pdev) ((void)(pdev))
#define pcim_iomap(pdev, bar, size) ((void *)((u64)(pdev)->function << 40 | (u64)((bar) + 1) << 32))
#define pci_resource_start(pdev, bar) ((u64)((bar) + 1) << 32)
#define pci_resource_len(pdev, bar) ((u64)((bar) == 2 ? 0x100000 : 0x1000))
#define pci_msix_vec_count(pdev) VECTORS
#define pci_alloc_irq_vectors(pdev, least, most, flags) (most)
#define pci_irq_vector(pdev, index) ((int)(index) < VECTORS ? (pdev)->function * VECTORS + (int)(index) : -EINVAL)

static int enabled_vfs;

#define pci_num_vf(pdev) enabled_vfs
#define pci_vfs_assigned(pdev) 0
#define pci_enable_sriov(pdev, vfs) (enabled_vfs = (vfs), host.sriov(vfs))
#define pci_disable_sriov(pdev) (enabled_vfs = 0, host.sriov(0))

static void set_bit(int bit, unsigned long *word)
{
	*word |= 1UL << bit;
}

static int test_bit(int bit, const unsigned long *word)
{
	return *word >> bit & 1;
}

/* Firmware files. */
struct firmware { size_t size; const void *data; };

static int request_firmware(const struct firmware **result, const char *name, struct device *device)
{
	struct firmware *file = calloc(1, sizeof(*file));

	file->data = host.firmware(name, &file->size);
	*result = file;
	return file->data ? 0 : -ENOENT;
}

static void release_firmware(const struct firmware *file)
{
	free((void *)file);
}

/* mmap of doorbells is not tried. */
struct vm_area_struct { unsigned long vm_pgoff, vm_start, vm_page_prot; };

#define VM_IO 0
#define VM_DONTEXPAND 0
#define VM_DONTDUMP 0
#define pgprot_noncached(protection) (protection)
#define vm_flags_set(vma, flags) ((void)(vma))
#define vma_pages(vma) 1L
#define io_remap_pfn_range(vma, start, pfn, size, protection) 0
struct drm_device { struct device *dev; };
