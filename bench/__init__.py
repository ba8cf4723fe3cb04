"""Side-by-side measurements of the gate: each compares two things in one run and prints a ratio."""
