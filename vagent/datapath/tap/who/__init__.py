"""Who is refused at the taps, who has no port there, which address a port learns."""
