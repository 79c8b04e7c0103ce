setup:
START_JOB 0
  WRITE_32        0x100000, 1
END_JOB
EOF
.endl setup
