"""However a stream is cut, the resampler gives the same samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.audio.resample import RATES_HZ, Resampler, resample

rates = st.sampled_from(RATES_HZ)


@settings(max_examples=150)
@given(rates, rates, st.lists(st.integers(0, 1500), max_size=12), st.integers(0, 2**32 - 1))
def test_any_cut_of_the_input_gives_the_output_of_one_piece(
    rate_in_hz: int, rate_out_hz: int, cuts: list[int], seed: int
) -> None:
    samples = np.random.default_rng(seed).integers(-32768, 32768, sum(cuts)).astype(np.int16)
    stream = Resampler(rate_in_hz, rate_out_hz)
    pieces = [stream.push(piece) for piece in np.split(samples, np.cumsum(cuts))]
    pieces.append(stream.finish())
    assert np.array_equal(np.concatenate(pieces), resample(samples, rate_in_hz, rate_out_hz))


@settings(max_examples=100)
@given(rates, rates, st.integers(0, 5000))
def test_the_number_of_samples_is_exact(rate_in_hz: int, rate_out_hz: int, count: int) -> None:
    converted = resample(np.zeros(count, dtype=np.int16), rate_in_hz, rate_out_hz)
    assert len(converted) == -(-count * rate_out_hz // rate_in_hz)


@settings(max_examples=50)
@given(rates, rates, st.lists(st.integers(1, 700), max_size=30))
def test_the_stream_never_lags_more_than_it_says(rate_in_hz: int, rate_out_hz: int, cuts: list[int]) -> None:
    stream = Resampler(rate_in_hz, rate_out_hz)
    taken = given_samples = 0
    for cut in cuts:
        given_samples += len(stream.push(np.ones(cut, dtype=np.int16)))
        taken += cut
        assert given_samples >= (taken - stream.held_back_samples) * rate_out_hz // rate_in_hz
        assert given_samples <= -(-taken * rate_out_hz // rate_in_hz)
