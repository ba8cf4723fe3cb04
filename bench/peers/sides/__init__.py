"""One program each, told what to do by lines of JSON. What they import besides the peer is the standard library."""
