"""Three small applications on real models: reading a page, naming files, marking speech."""
