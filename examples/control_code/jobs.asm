; Jobs that run together on one micro-controller: a deferred job, a local barrier, polls, registers.
; They leave 0xF1 0x22 0x122 0x33 0x44 0x44 0x55 in the first words of column 0's mem tile, then 0x66 from a second page.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0

START_JOB 0
  WRITE_32        0x100000, 0x11
  LAUNCH_JOB      3
  LOCAL_BARRIER   $lb0, 2
  READ_32         $r1, 0x100004
  ADD             $r1, 0x100
  WRITE_32_D      1, 0x100008, 1
END_JOB

START_JOB 1
  WRITE_32        0x100004, 0x22
  LOCAL_BARRIER   $lb0, 2
  POLL_32         0x10000C, 0x33
  MASK_WRITE_32   0x100000, 0xF0, 0xFF
END_JOB

START_JOB 2
  YIELD
  NOP
  MOV             $g0, 0x100010
  WRITE_32_D      2, 8, 0x44
  READ_32_D       $r8, $r2
  WRITE_32_D      1, 0x100014, 2
  SLEEP           5
  WRITE_32        0x100018, 0x55
END_JOB

START_JOB_DEFERRED 3
  WRITE_32        0x10000C, 0x33
END_JOB
.eop

START_JOB 4
  MASK_POLL_32    0x100018, 0xF0, 0x50
  WRITE_32        0x10001C, 0x66
END_JOB
EOF
