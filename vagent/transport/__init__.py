"""Bytes on connections: reactor, deadlines, and TLS on memory BIOs for both sides."""
