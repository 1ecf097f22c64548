"""The Python client of the Realtime Calls API.

Pure parts (requests, answers, retries, events, signatures) under two thin shells: `Client` and `AsyncClient`. It stands
on the wire types and nothing else of the server.
"""
