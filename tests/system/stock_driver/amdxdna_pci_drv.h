/* Takes the place of the driver's own headers of this name and of amdxdna_gem.h and amdxdna_ctx.h: the DRM side, which is not tried. */
#pragma once

#include <drm/amdxdna_accel.h>

struct amdxdna_client;
struct amdxdna_dev;
struct amdxdna_dev_hdl;
struct amdxdna_dev_priv;
struct amdxdna_gem_obj;
struct amdxdna_hwctx;
struct amdxdna_hwctx_priv;
struct amdxdna_rev_vbnv;

struct amdxdna_dev_ops {
	int (*init)(struct amdxdna_dev *xdna);
	void (*fini)(struct amdxdna_dev *xdna);
	int (*sriov_configure)(struct amdxdna_dev *xdna, int num_vfs);
	int (*mmap)(struct amdxdna_client *client, struct vm_area_struct *vma);
	int (*hwctx_init)(struct amdxdna_hwctx *hwctx);
	void (*hwctx_fini)(struct amdxdna_hwctx *hwctx);
	int (*cmd_wait)(struct amdxdna_hwctx *hwctx, u64 seq, u32 timeout);
	int (*get_aie_info)(struct amdxdna_client *client, struct amdxdna_drm_get_info *args);
	int (*get_dev_revision)(struct amdxdna_dev *xdna, u32 *rev);
};

struct amdxdna_fw_feature_tbl {
	u64 features;
	u32 major, max_minor, min_minor;
};

struct amdxdna_dev_info {
	int mbox_bar, sram_bar, psp_bar, smu_bar, doorbell_bar, device_type;
	const char *default_vbnv;
	const struct amdxdna_rev_vbnv *rev_vbnv_tbl;
	const struct amdxdna_dev_priv *dev_priv;
	const struct amdxdna_fw_feature_tbl *fw_feature_tbl;
	const struct amdxdna_dev_ops *ops;
};

struct amdxdna_dev {
	struct drm_device ddev;
	struct amdxdna_dev_hdl *dev_handle;
	const struct amdxdna_dev_info *dev_info;
	struct mutex dev_lock;
	const char *vbnv;
};

struct amdxdna_client {
	struct amdxdna_dev *xdna;
	int pasid;
	int hwctx_srcu;
};

struct amdxdna_gem_obj {
	struct {
		size_t size;
		u64 address;
		void *kva;
	} mem;
};

struct amdxdna_hwctx {
	struct amdxdna_client *client;
	struct amdxdna_hwctx_priv *priv;
	struct amdxdna_gem_obj queue;
	struct {
		u32 priority;
	} qos;
	const char *name;
	u32 num_tiles, doorbell_offset, umq_bo_hdl;
};

extern const struct amdxdna_dev_info dev_npu3_pf_info, dev_npu3_vf_info;

#define XDNA_ERR(xdna, ...) report(__VA_ARGS__)
#define XDNA_WARN(xdna, ...) report(__VA_ARGS__)
#define XDNA_DBG(xdna, ...) ((void)0)
#define to_xdna_dev(device) container_of(device, struct amdxdna_dev, ddev)
#define amdxdna_iova_on(xdna) 0
#define amdxdna_iommu_alloc(xdna, size, address) NULL
#define amdxdna_iommu_free(xdna, size, p, address) ((void)(p))
#define amdxdna_for_each_hwctx(client, id, hwctx) for (id = 0, hwctx = NULL; hwctx;)
#define amdxdna_gem_get_obj(client, handle, type) current_queue
#define amdxdna_gem_put_obj(object) ((void)(object))
#define amdxdna_gem_vmap(object) ((object)->mem.kva)
#define amdxdna_gem_dev_addr(object) ((object)->mem.address)

static struct amdxdna_gem_obj *current_queue;
