; Copies the 4096 bytes of argument 0 to argument 1, through the mem tile of column 0.
; Register addresses and BD fields: python/fauxdna/abi/array.py.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0

; The way there and back, and the mem tile's two BDs; the second waits for lock 1, which the first releases.
START_JOB 0
  UC_DMA_WRITE_DES_SYNC   @mem_tile
  MASK_WRITE_32           0x008020, 0xC000007F, 0x80000000
  WRITE_32                0x008040, 0x80000000
  WRITE_32                0x008064, 0x80000000
  WRITE_32                0x008000, 0x80000012
  WRITE_32                0x120000, 0x8000000E
  WRITE_32                0x12005C, 0x80000000
  WRITE_32                0x120014, 0x80000000
  WRITE_32                0x120040, 0x80000000
  LOCAL_BARRIER           $lb0, 2
  WRITE_32                0x109E04, 0x00000000
  WRITE_32                0x109E64, 0x00000000
END_JOB

START_JOB 1
  APPLY_OFFSET_57         @input, 1, 0
  APPLY_OFFSET_57         @output, 1, 1
  UC_DMA_WRITE_DES        $r0, @shim
  WAIT_UC_DMA             $r0
  LOCAL_BARRIER           $lb0, 2
  WRITE_32                0x018544, 0x80000001
  WRITE_32                0x018554, 0x00000000
  WAIT_TCTS               TILE_0_0, SHIM_S2MM_0, 1
END_JOB
EOF

.align 16
mem_tile:
  UC_DMA_BD 0, 0x108000, @mem_in, 11, 0, 1
  UC_DMA_BD 0, 0x108C00, @mem_out, 11, 0, 0
.align 16
shim:
  UC_DMA_BD 0, 0x018000, @input, 9, 0, 1
  UC_DMA_BD 0, 0x018030, @output, 9, 0, 0
.align 4
mem_in:
  .long 0x00801000
  .long 0x00000400
  .long 0x00000B82
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
mem_out:
  .long 0x00801000
  .long 0xFE000400
  .long 0x1C100001
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
input:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000400
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
.align 4
output:
  .long 0x00000000
  .long 0x00000000
  .long 0x00000400
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
