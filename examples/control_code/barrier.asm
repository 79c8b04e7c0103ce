; Two micro-controllers, 0 and 2, that meet at a remote barrier (mask: bits 0 and 2).
; Each writes its part before, and reads the other's after: words 0 to 3 of column 0's mem tile become 5 6 6 5.
.target aie4
.aie_row_topology 1-1-4-0
.partition 3column
.attach_to_group 0
START_JOB 0
  SLEEP           20
  WRITE_32        0x100000, 5
  REMOTE_BARRIER  $rb0, 0x5
  READ_32         $r0, 0x100004
  WRITE_32_D      1, 0x100008, 0
END_JOB
EOF

.attach_to_group 2
START_JOB 0
  WRITE_32        0x100004, 6
  REMOTE_BARRIER  $rb0, 0x5
  READ_32         $r0, 0x100000
  WRITE_32_D      1, 0x10000C, 0
END_JOB
EOF
