"""What stops packets on this host: facts are collected, pure checks judge them."""
