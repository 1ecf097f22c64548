"""The words of the API: every structure that crosses a socket, and how bad ones are refused.

These msgspec Structs are the only vocabulary of the project; the core uses them directly. They are immutable, and a
member that was absent (``UNSET``) is not the same as one that was ``null``. Source: Realtime API reference, GA shapes.
"""
