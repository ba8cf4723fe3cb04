"""What the gate knows, as values: no input, no output, no clock, no randomness."""
