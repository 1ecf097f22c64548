"""Samples in, samples out: codecs, resampling, levels, concealment, turns. No clocks, no sockets, no state shared.

Samples are mono ``int16`` arrays of numpy unless a docstring says otherwise; lengths are in samples, rates in hertz.
"""
