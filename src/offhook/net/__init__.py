"""Sockets: what joins the machines below to the network."""
