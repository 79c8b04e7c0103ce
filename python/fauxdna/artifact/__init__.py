"""What the compiler writes and the runtime reads: the AIE4 ELF and the program around it."""
