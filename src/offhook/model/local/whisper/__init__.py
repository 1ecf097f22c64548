"""Whisper on an ordinary CPU, by way of CTranslate2: what surrounds its two networks.

``features`` makes the picture of the sound that the encoder looks at, ``tokens`` turns the decoder's numbers into text,
``doubt`` tells speech from what Whisper makes up, ``engine`` joins them inside a worker process.
"""
