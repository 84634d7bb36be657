"""What the machine says of itself: its processor, and which of its processes are alive."""
