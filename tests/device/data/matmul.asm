.target aie4
.aie_row_topology 1-1-4-0
.partition 1column
.attach_to_group 0
START_JOB 0
  WRITE_32 0x8020, 0x80000000
  WRITE_32 0x8040, 0x80000000
  WRITE_32 0x8000, 0x80000012
  WRITE_32 0x8064, 0x80000000
  WRITE_32 0x120020, 0x8000000e
  WRITE_32 0x12005c, 0x80000000
  WRITE_32 0x120014, 0x80000016
  WRITE_32 0x12006c, 0x80000000
  WRITE_32 0x6b4008, 0x80000005
  WRITE_32 0x6b4114, 0x80000000
  WRITE_32 0x6b4018, 0x80000001
  WRITE_32 0x6b4104, 0x80000000
  WRITE_32 0x6ae000, 0x0
  WRITE_32 0x6ae010, 0x0
  UC_DMA_WRITE_DES_SYNC @load_program
  APPLY_OFFSET_57 @shim_a, 1, 0
  APPLY_OFFSET_57 @shim_b, 1, 1
  APPLY_OFFSET_57 @shim_c, 1, 2
  UC_DMA_WRITE_DES_SYNC @load_bds
  WRITE_32 0x6ace04, 0x0
  WRITE_32 0x6ace14, 0x2
  WRITE_32 0x18544, 0x80000002
  WRITE_32 0x6a3000, 0x1
  WRITE_32 0x18554, 0x0
  WRITE_32 0x18554, 0x1
  WAIT_TCTS TILE_0_0, SHIM_S2MM_0, 1
END_JOB
EOF
.align 16
load_program:
  UC_DMA_BD 0, 0x680000, @program, 49, 0, 0
load_bds:
  UC_DMA_BD 0, 0x18000, @shim_a, 9, 0, 1
  UC_DMA_BD 0, 0x18030, @shim_b, 9, 0, 1
  UC_DMA_BD 0, 0x18060, @shim_c, 9, 0, 1
  UC_DMA_BD 0, 0x6ac000, @core_a, 6, 0, 1
  UC_DMA_BD 0, 0x6ac020, @core_b, 6, 0, 1
  UC_DMA_BD 0, 0x6ac040, @core_c, 6, 0, 0
.align 4
program:
  .long 0x00000306
  .long 0x00000000
  .long 0xfffffffe
  .long 0x000f032d
  .long 0x00001000
  .long 0x00002000
  .long 0x00170520
  .long 0x00000000
  .long 0x00002000
  .long 0x00000000
  .long 0x00004000
  .long 0x00000307
  .long 0x00000001
  .long 0x00000001
  .long 0x00000100
  .long 0x00000040
  .long 0x00000020
  .long 0x00000020
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000001
  .long 0x00000020
  .long 0x00000020
  .long 0x00000040
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000800
  .long 0x00000040
  .long 0x00001000
  .long 0x00000080
  .long 0x00000001
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000003
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x80000000
  .long 0x7fffffff
  .long 0x00000000
  .long 0x00000000
shim_a:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
shim_b:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
shim_c:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000400
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
core_a:
  .long 0x00000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x0c040000
core_b:
  .long 0x04000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00040000
core_c:
  .long 0x10000400
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00001fe1
.eop
