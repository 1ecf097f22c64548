"""The conversation as a machine: turns, responses, items, tools and what was really heard.

Inputs and a clock reading go in, server events and commands come out; nothing here waits, sends or knows a socket.
Begin with ``engine.py``.
"""
