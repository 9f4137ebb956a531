"""A packet that opens a flow: taken from NFQUEUE, decided, given its verdict."""
