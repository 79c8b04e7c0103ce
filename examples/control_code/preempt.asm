; Copies the 4096 bytes of argument 0 to argument 1 through the mem tile of column 0, with a preemption point where all of them are
; there: a quarter in each quarter of its memory. If the host asks for it (FORCE_PREEMPT), PREEMPT runs the save and restore pages
; that aiebu-asm adds: they take the routes away, so the restore page loads the PDI again.
.target aie4
.aie_row_topology 1-1-4-0
.partition 1column
.attach_to_group 0

START_JOB 0
  LOAD_PDI                0x2A, @routes
END_JOB

START_JOB 1
  APPLY_OFFSET_57         @input, 1, 0
  UC_DMA_WRITE_DES_SYNC   @way_in
  WRITE_32                0x109E04, 0x80000000
  WRITE_32                0x018554, 0x00000000
  WAIT_TCTS               TILE_0_1, MEM_S2MM_0, 1
END_JOB

START_JOB 2
  PREEMPT                 1, @save, @restore
END_JOB

START_JOB 3
  APPLY_OFFSET_57         @output, 1, 1
  UC_DMA_WRITE_DES_SYNC   @way_out
  WRITE_32                0x058544, 0x80000000
  WRITE_32                0x149E64, 0x00000000
  WAIT_TCTS               TILE_0_0, SHIM_S2MM_1, 1
END_JOB
EOF

.align 16
way_in:
  UC_DMA_BD 0, 0x108000, @mem_tile, 11, 0, 1
  UC_DMA_BD 0, 0x018000, @input, 9, 0, 0
.align 16
way_out:
  UC_DMA_BD 0, 0x148C00, @mem_tile, 11, 0, 1
  UC_DMA_BD 0, 0x058000, @output, 9, 0, 0
; 1024 words in runs of 256, which lie 0x30000 words apart
.align 4
mem_tile:
  .long 0x00801000
  .long 0x00000400
  .long 0x00000000
  .long 0x00030000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00000000
  .long 0x00002000
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
.include preempt_routes.asm
