programs:
START_JOB 0
  POLL_32         0x100000, 1
  WRITE_32        0x100004, 2
END_JOB
EOF
.endl programs
