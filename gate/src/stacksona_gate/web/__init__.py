"""HTTP for people: the inbox."""
