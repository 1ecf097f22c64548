"""The sockets: the only package that opens them."""
