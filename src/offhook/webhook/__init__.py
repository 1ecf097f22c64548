"""Telling the application that a call came in."""
