"""The gate beside other programs: the same work as near as can be, interleaved in one run.

``sides`` are processes that do the work, the peers' in an environment of their own; the rest asks them in turn.
"""
