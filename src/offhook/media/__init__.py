"""The 20 ms plane: one thread for the sound of all calls; the rest of the server talks to it in commands and edges."""
