"""The embedded metadata server beside a real Nova, and its vendor data targets."""
