"""HTTP/1.1 as values: heads, bodies and paths, parsed strictly, rendered anew."""
