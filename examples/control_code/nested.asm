; Code reached by page number: a PDI, core programs, and what the assembler adds for PREEMPT by itself.
; Writes 1 (PDI), 2 (cores), 3 to the first words of column 0's mem tile.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0

START_JOB 0
  LOAD_PDI        0x11223344, @setup
END_JOB
.eop
START_JOB 1
  LOAD_CORES      7, @programs
END_JOB
.eop
START_JOB 2
  PREEMPT         1, @save, @restore
END_JOB
START_COND_JOB_PREEMPT 3
  WRITE_32        0x10000C, 4
END_JOB
START_JOB 4
  WRITE_32        0x100008, 3
END_JOB
EOF
.include nested_setup.asm
.include nested_programs.asm
