"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples every time, so that a change is judged by what it changed. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
