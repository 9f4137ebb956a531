"""How bytes are sent and received: reactor, deadlines, and TLS for both sides."""
