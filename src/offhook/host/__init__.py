"""Who owns what while the server runs: calls, projects, capacity."""
