; Every instruction that aiebu-asm knows, once; not meant to be run.
; aiebu-asm -t aie4_config -j every_instruction.json -o every_instruction.elf -f disabledump
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0
START_JOB 1
 WRITE_32 0x01A0634, 0x80000001
 MASK_WRITE_32 0x01A0634, 0x0F0F0F0F, 0x12345678
 WRITE_32_D 2, 0x4100000, 0x55
 READ_32 $r5, 0x2100000
 READ_32_D $r5, $r9
 ADD $r4, 0x01020304
 MOV $g2, 0x05060708
 NOP
 YIELD
 LOCAL_BARRIER $lb3, 2
 REMOTE_BARRIER $rb2, 0x5
 POLL_32 0x2100000, 0x11223344
 MASK_POLL_32 0x2100000, 0x55667788, 0x11223344
 WAIT_TCTS TILE_2_6, 3, 7
 WAIT_TCTS TILE_0_1, MEM_MM2S_0, 7
 WAIT_TCTS TILE_1_0, SHIM_MM2S_1, 1
 SLEEP 0x01020304
 TRACE 0x0102
 SAVE_TIMESTAMPS 0x01020304
 SAVE_REGISTER 0x01020304, 0x05060708
 REL_ACQ_SYNC 0x01020304, 0x05060708
 LOAD_LAST_PDI
 UC_DMA_WRITE_DES $r3, @bd
 UC_DMA_WRITE_DES_SYNC @bd
 WAIT_UC_DMA $r3
 APPLY_OFFSET_57 @table, 1, 3
 LAUNCH_JOB 0x0102
 LOAD_PDI 0x11223344, @pdi
 LOAD_CORES 0x7, @cores
 LOAD_CORES_CP 0x7
 PREEMPT 0x5, @save, @restore
END_JOB
START_JOB_DEFERRED 0x0102
 NOP
END_JOB
START_COND_JOB_PREEMPT 9
 NOP
END_JOB
EOF
.align 16
bd:
 UC_DMA_BD 0x12, 0x021A05C0, @table, 8, 0, 1
 UC_DMA_BD 0x11, 0x021A0600, @table, 9, 1, 0
.align 4
table:
 .long 0
 .long 1
 .long 2
 .long 3
 .long 4
 .long 5
 .long 6
 .long 7
 .long 8
.include every_instruction_pdi.asm
.include every_instruction_cores.asm
