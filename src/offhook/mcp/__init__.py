"""Servers of the Model Context Protocol: which of those that sessions name may be reached, and how."""
