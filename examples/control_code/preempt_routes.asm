routes:
START_JOB 0
; in by the first half: shim MM2S0 north to the mem tile's S2MM0
  WRITE_32        0x008020, 0x80000000
  WRITE_32        0x008040, 0x80000000
  WRITE_32        0x120000, 0x8000000E
  WRITE_32        0x12005C, 0x80000000
; out by the second: mem tile MM2S5 south to shim S2MM1
  WRITE_32        0x160014, 0x80000006
  WRITE_32        0x160040, 0x80000000
  WRITE_32        0x048000, 0x80000014
  WRITE_32        0x048064, 0x80000000
END_JOB
EOF
.endl routes
