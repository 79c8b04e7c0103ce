; Three columns, each with a micro-controller of its own: column c copies bytes c * 4096 on of argument 0 to the same place of argument 1,
; through its mem tile. All meet at a remote barrier (mask: micro-controllers 0, 2 and 4) before they begin and when they are done.
; Only the first three words of each BD are written: the others are 0 in tiles that nobody has used.
; mem_out waits for lock 1, which mem_in releases.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column

.attach_to_group 0
START_JOB 0
  APPLY_OFFSET_57         @input, 1, 0
  APPLY_OFFSET_57         @output, 1, 1
  UC_DMA_WRITE_DES_SYNC   @descriptors
  MASK_WRITE_32           0x008020, 0xC000007F, 0x80000000
  WRITE_32                0x008040, 0x80000000
  WRITE_32                0x008064, 0x80000000
  WRITE_32                0x008000, 0x80000012
  WRITE_32                0x120000, 0x8000000E
  WRITE_32                0x12005C, 0x80000000
  WRITE_32                0x120014, 0x80000000
  WRITE_32                0x120040, 0x80000000
  REMOTE_BARRIER          $rb0, 0x15
  WRITE_32                0x109E04, 0x00000000
  WRITE_32                0x109E64, 0x00000000
  WRITE_32                0x018544, 0x80000001
  WRITE_32                0x018554, 0x00000000
  WAIT_TCTS               TILE_0_0, SHIM_S2MM_0, 1
  REMOTE_BARRIER          $rb1, 0x15
END_JOB
EOF
.align 16
descriptors:
  UC_DMA_BD 0, 0x108000, @mem_in, 3, 0, 1
  UC_DMA_BD 0, 0x108C00, @mem_out, 3, 0, 1
  UC_DMA_BD 0, 0x018000, @input, 3, 0, 1
  UC_DMA_BD 0, 0x018030, @output, 3, 0, 0
.align 4
input:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000400
output:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000400
mem_in:
  .long 0x00801000
  .long 0x00000400
  .long 0x00000B82
mem_out:
  .long 0x00801000
  .long 0xFE000400
  .long 0x1C100001

.attach_to_group 2
START_JOB 0
  APPLY_OFFSET_57         @input, 1, 0
  APPLY_OFFSET_57         @output, 1, 1
  UC_DMA_WRITE_DES_SYNC   @descriptors
  MASK_WRITE_32           0x2008020, 0xC000007F, 0x80000000
  WRITE_32                0x2008040, 0x80000000
  WRITE_32                0x2008064, 0x80000000
  WRITE_32                0x2008000, 0x80000012
  WRITE_32                0x2120000, 0x8000000E
  WRITE_32                0x212005C, 0x80000000
  WRITE_32                0x2120014, 0x80000000
  WRITE_32                0x2120040, 0x80000000
  REMOTE_BARRIER          $rb0, 0x15
  WRITE_32                0x2109E04, 0x00000000
  WRITE_32                0x2109E64, 0x00000000
  WRITE_32                0x2018544, 0x80000001
  WRITE_32                0x2018554, 0x00000000
  WAIT_TCTS               TILE_1_0, SHIM_S2MM_0, 1
  REMOTE_BARRIER          $rb1, 0x15
END_JOB
EOF
.align 16
descriptors:
  UC_DMA_BD 0, 0x2108000, @mem_in, 3, 0, 1
  UC_DMA_BD 0, 0x2108C00, @mem_out, 3, 0, 1
  UC_DMA_BD 0, 0x2018000, @input, 3, 0, 1
  UC_DMA_BD 0, 0x2018030, @output, 3, 0, 0
.align 4
input:
  .long 0x00000000
  .long 0x00001000
  .long 0x00000400
output:
  .long 0x00000000
  .long 0x00001000
  .long 0x00000400
mem_in:
  .long 0x00801000
  .long 0x00000400
  .long 0x00000B82
mem_out:
  .long 0x00801000
  .long 0xFE000400
  .long 0x1C100001

.attach_to_group 4
START_JOB 0
  APPLY_OFFSET_57         @input, 1, 0
  APPLY_OFFSET_57         @output, 1, 1
  UC_DMA_WRITE_DES_SYNC   @descriptors
  MASK_WRITE_32           0x4008020, 0xC000007F, 0x80000000
  WRITE_32                0x4008040, 0x80000000
  WRITE_32                0x4008064, 0x80000000
  WRITE_32                0x4008000, 0x80000012
  WRITE_32                0x4120000, 0x8000000E
  WRITE_32                0x412005C, 0x80000000
  WRITE_32                0x4120014, 0x80000000
  WRITE_32                0x4120040, 0x80000000
  REMOTE_BARRIER          $rb0, 0x15
  WRITE_32                0x4109E04, 0x00000000
  WRITE_32                0x4109E64, 0x00000000
  WRITE_32                0x4018544, 0x80000001
  WRITE_32                0x4018554, 0x00000000
  WAIT_TCTS               TILE_2_0, SHIM_S2MM_0, 1
  REMOTE_BARRIER          $rb1, 0x15
END_JOB
EOF
.align 16
descriptors:
  UC_DMA_BD 0, 0x4108000, @mem_in, 3, 0, 1
  UC_DMA_BD 0, 0x4108C00, @mem_out, 3, 0, 1
  UC_DMA_BD 0, 0x4018000, @input, 3, 0, 1
  UC_DMA_BD 0, 0x4018030, @output, 3, 0, 0
.align 4
input:
  .long 0x00000000
  .long 0x00002000
  .long 0x00000400
output:
  .long 0x00000000
  .long 0x00002000
  .long 0x00000400
mem_in:
  .long 0x00801000
  .long 0x00000400
  .long 0x00000B82
mem_out:
  .long 0x00801000
  .long 0xFE000400
  .long 0x1C100001
