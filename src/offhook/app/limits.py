"""What an application holds and waits for at most, with the reasons."""

from __future__ import annotations

from typing import Final

# An INVITE's headers fit into 64 KB; the webhook repeats them as JSON.
MAX_WEBHOOK_BYTES: Final = 1024 * 1024
# Webhooks and calls that are known for repetitions. They are repeated within the ring time: minutes, not thousands.
MAX_REMEMBERED: Final = 10_000
# Calls at a time in one process; beyond it the server is asked to try again, and a ringing call waits.
MAX_CALLS: Final = 1_000
# How long an application that stops waits for its calls before it hangs them up.
DRAIN_S: Final = 60.0
# The last actions of a call that ends badly: two attempts on a healthy server take milliseconds.
LAST_ACTION_S: Final = 10.0

# Events that wait for an application; beyond it the oldest are dropped. A lively call makes ten a second.
MAX_UNREAD_EVENTS: Final = 1_000
# A socket that was lost is opened again after these pauses. A server that restarts takes its calls along; what is
# bridged here is a network that fails for seconds.
RECONNECT_PAUSES_S: Final = (0.1, 0.4, 1.0, 2.0, 4.0)
# A connection that lived so long was a good one, and the pauses begin anew after it. One that is opened and closed at
# once is a failure like one that is not opened: a server would be dialled without end.
STEADY_S: Final = 5.0
# Functions that run at a time in one call; a response asks for a few.
MAX_RUNNING_FUNCTIONS: Final = 32
# Names of functions that somebody else answers, remembered for one call; sessions have some ten.
MAX_OTHER_FUNCTIONS: Final = 1_000
# Synchronous functions that run at a time in one process, each in a thread.
MAX_THREADS: Final = 64
# A caller waits on the line meanwhile.
FUNCTION_S: Final = 30.0
# What a model is told by a function: some ten thousand tokens.
MAX_OUTPUT_CHARS: Final = 50_000
# Failures as they are told to the model, and what it wrote as it is shown in them.
MAX_SHOWN_CHARS: Final = 500

# A sentence begins after the response that is under way, and is said at ten letters a second at least.
SAY_START_S: Final = 60.0
SAY_LETTER_S: Final = 0.1
# The last sentence before a call is hung up or transferred; whoever talks longer is cut off.
LAST_SENTENCE_S: Final = 30.0
# How long a transfer's outcome is waited for: the other side rings meanwhile.
TRANSFER_S: Final = 30.0
