"""What both sides of the bus agree on: declarations with their sources, and no behaviour."""
