"""What is wanted becomes nftables rules, applied whole and watched."""
