"""A small service between workflow platforms and Stacksona Gate. It keeps nothing: what it must know again stands in
the gate."""
