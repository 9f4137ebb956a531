"""HTTP/1.1 as values: heads, bodies and paths, read strictly, written from nothing."""
