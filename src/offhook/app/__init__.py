"""Answering calls: an ASGI application that takes the webhook, and a session that runs the conversation of one call.

It stands on the client and nothing else, so it works with every server of the API. Read ``application`` first.
"""
