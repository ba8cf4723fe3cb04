"""Properties of a history and of what is there at its end. Each is a function of these two alone."""
