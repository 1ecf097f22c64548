"""Models that run on this machine, in worker processes that can neither delay a tick nor take a call along.

``pool`` starts the workers and gives them work, ``worker`` is what runs inside them, ``frames`` is what they say to
each other. An engine is loaded by name inside the worker only: the server imports none of a model's libraries.
"""
