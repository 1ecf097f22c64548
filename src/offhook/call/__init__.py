"""One telephone call as a machine: ringing, answered, ended."""
