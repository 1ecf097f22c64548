"""The frames of model workers: any of them comes out as it went in, and nothing else gets through."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.model.local import frames, limits

values = st.dictionaries(st.text(max_size=5), st.integers(-(2**60), 2**60) | st.binary() | st.text() | st.floats(0, 1))


@given(st.integers(0, 2**40), values)
def test_frames_come_out_as_they_went_in(id_: int, members: dict[str, object]) -> None:
    for frame in (frames.Serve(id_, members), frames.Load(members), frames.Cancel(id_)):
        packed = frames.pack(frame)
        assert frames.body_bytes(packed[:4]) == len(packed) - 4
        assert frames.read_to_worker(packed[4:]) == frame
    for answer in (frames.Result(id_, members), frames.Failed(id_, "code", "words"), frames.Finished(id_, 1.5)):
        assert frames.read_from_worker(frames.pack(answer)[4:]) == answer


@given(st.binary(max_size=200))
def test_garbage_is_a_frame_error_and_nothing_worse(body: bytes) -> None:
    for read in (frames.read_to_worker, frames.read_from_worker):
        with contextlib.suppress(frames.FrameError):
            read(body)


@pytest.mark.parametrize("size_bytes", [0, limits.FRAME_BYTES + 1, 2**32 - 1])
def test_a_length_that_no_frame_has_is_refused(size_bytes: int) -> None:
    with pytest.raises(frames.FrameError):
        frames.body_bytes(size_bytes.to_bytes(4, "big"))
