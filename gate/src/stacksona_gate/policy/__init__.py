"""Rules: what they say, how they are read, what they answer."""
