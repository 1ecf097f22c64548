"""A telephone for tests and for measuring: it calls any SIP address, speaks, listens, records and reports.

Begin with ``offhook.testing.phone``.
"""
