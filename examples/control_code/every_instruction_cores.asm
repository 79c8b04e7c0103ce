cores:
START_JOB 0
 WRITE_32 0x1000, 0x56
END_JOB
EOF
.endl cores
