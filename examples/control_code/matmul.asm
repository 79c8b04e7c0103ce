; C = A x B on one core: A is 16 x 64 int8 (argument 0), B 64 x 32 int8 (argument 1), C 16 x 32 int32 (argument 2), all row by row.
; The page carries the core's tile program, every BD and every route; register addresses, BD fields and tile instructions are
; declared in python/fauxdna/abi/array.py and tile_program.py.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0

START_JOB 0
  UC_DMA_WRITE_DES        $r0, @tiles
; shim MM2S0 north to the mem tile; shim S2MM0 from it
  WRITE_32                0x008020, 0x80000000
  WRITE_32                0x008040, 0x80000000
  WRITE_32                0x008064, 0x80000000
  WRITE_32                0x008000, 0x80000012
; mem tile S2MM0 from the shim, MM2S0 to it
  WRITE_32                0x120000, 0x8000000E
  WRITE_32                0x12005C, 0x80000000
  WRITE_32                0x120014, 0x80000000
  WRITE_32                0x120040, 0x80000000
; mem tile MM2S1 north to the core, S2MM1 from it
  WRITE_32                0x120020, 0x80000001
  WRITE_32                0x120044, 0x80000000
  WRITE_32                0x120004, 0x80000017
  WRITE_32                0x120070, 0x80000000
; core S2MM0 from the south, MM2S0 to it
  WRITE_32                0x6B4008, 0x80000005
  WRITE_32                0x6B4114, 0x80000000
  WRITE_32                0x6B401C, 0x80000001
  WRITE_32                0x6B4104, 0x80000000
  WAIT_UC_DMA             $r0
; mem tile S2MM0 and S2MM1, MM2S0 and MM2S1; core S2MM0 and MM2S0 (BD 1)
  WRITE_32                0x109E04, 0x00000000
  WRITE_32                0x109E0C, 0x00000000
  WRITE_32                0x109E64, 0x00000000
  WRITE_32                0x109E6C, 0x00000000
  WRITE_32                0x6ACE04, 0x00000000
  WRITE_32                0x6ACE14, 0x00000001
; the core
  WRITE_32                0x6A3000, 0x00000001
  LOCAL_BARRIER           $lb0, 2
END_JOB

START_JOB 1
  APPLY_OFFSET_57         @matrix_a, 1, 0
  APPLY_OFFSET_57         @matrix_b, 1, 1
  APPLY_OFFSET_57         @matrix_c, 1, 2
  UC_DMA_WRITE_DES_SYNC   @shim
  LOCAL_BARRIER           $lb0, 2
; shim S2MM0 with a token (BD 2), MM2S0 (BD 0, which goes on with BD 1)
  WRITE_32                0x018544, 0x80000002
  WRITE_32                0x018554, 0x00000000
  WAIT_TCTS               TILE_0_0, SHIM_S2MM_0, 1
END_JOB
EOF

.align 16
tiles:
  UC_DMA_BD 0, 0x108000, @mem_in, 11, 0, 1
  UC_DMA_BD 0, 0x108F00, @mem_core, 11, 0, 1
  UC_DMA_BD 0, 0x108300, @mem_result, 11, 0, 1
  UC_DMA_BD 0, 0x108C00, @mem_out, 11, 0, 1
  UC_DMA_BD 0, 0x6AC000, @core_in, 6, 0, 1
  UC_DMA_BD 0, 0x6AC020, @core_out, 6, 0, 1
  UC_DMA_BD 0, 0x680000, @program, 50, 0, 0
.align 16
shim:
  UC_DMA_BD 0, 0x018000, @matrix_a, 9, 0, 1
  UC_DMA_BD 0, 0x018030, @matrix_b, 9, 0, 1
  UC_DMA_BD 0, 0x018060, @matrix_c, 9, 0, 0
; mem_in: both matrices; then lock 0 rises
.align 4
mem_in:
  .long 0x00800000
  .long 0x00000300
  .long 0x00000B80
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
; mem_core: waits for lock 0, to the core
.align 4
mem_core:
  .long 0x00800000
  .long 0xFE000300
  .long 0x1C000001
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
; mem_result: from the core; then lock 1 rises
.align 4
mem_result:
  .long 0x00801000
  .long 0x00000200
  .long 0x00000B82
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
; mem_out: waits for lock 1, to the shim
.align 4
mem_out:
  .long 0x00801000
  .long 0xFE000200
  .long 0x1C100001
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
; core_in: to data memory 0; then lock 0 rises
.align 4
core_in:
  .long 0x00000300
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00040000
; core_out: waits for lock 1, from data memory 0x3000
.align 4
core_out:
  .long 0x0C000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00001FE1
.align 4
matrix_a:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000100
  .long 0x00000000
  .long 0x00000000
  .long 0x0C000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
matrix_b:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
matrix_c:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000200
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
program:
; ACQUIRE lock 0, -1: input and weights are there
  .long 0x00000306
  .long 0x00000000
  .long 0xFFFFFFFF
; PACK B (0x400) to 0x1000, descriptor at word 42
  .long 0x002A032D
  .long 0x00000400
  .long 0x00001000
; CONV2D A (0) by 0x1000 to 0x3000, descriptor at word 16
  .long 0x00100520
  .long 0x00000000
  .long 0x00001000
  .long 0x00002000
  .long 0x00003000
; RELEASE lock 1, +1: the result is there
  .long 0x00000307
  .long 0x00000001
  .long 0x00000001
; HALT, and a word of padding
  .long 0x00000100
  .long 0x00000000
; CONV2D: 16 pixels of 64 channels to 32 channels, 1x1, int8 to int32
  .long 0x00000001
  .long 0x00000010
  .long 0x00000020
  .long 0x00000040
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000001
  .long 0x00000400
  .long 0x00000040
  .long 0x00000800
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
  .long 0x7FFFFFFF
  .long 0x00000000
  .long 0x00000000
; PACK: K = 64 rows, N = 32 columns, 32 bytes apart
  .long 0x00000040
  .long 0x00000020
  .long 0x00000020
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
