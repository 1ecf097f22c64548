"""What hears, thinks and speaks: the backends of a session, all behind ``interface.py``."""
