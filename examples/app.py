"""The receptionist once more, in a third of the lines: `offhook.App` does what every application of this API has to.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=sk-... OPENAI_WEBHOOK_SECRET=whsec_... \
        python examples/app.py
"""

import datetime

import offhook
from offhook import types

app = offhook.App()


@app.tool
def opening_hours(day: str = "") -> str:
    """When the clinic is open.

    Args:
        day: A weekday. Today, when it is left out.
    """
    day = day or datetime.datetime.now().strftime("%A")
    return f"On {day} the clinic is open from nine to five."


@app.incoming
async def answer(call: offhook.IncomingCall) -> None:
    """Take a call, and follow it to its end."""
    print(f"a call from {call.caller}", flush=True)
    async with call.accept(
        instructions="You are the receptionist of a small clinic. Be brief and friendly.",
        audio={"input": {"transcription": {"model": "whisper-1"}}},
    ) as session:
        await session.say("Good morning, how can I help?")
        async for event in session:
            match event:
                case types.TranscriptionCompleted(transcript=words):
                    print(f"the caller was understood: {words}", flush=True)
                case types.OutputTranscriptDone(transcript=words):
                    print(f"the agent says: {words}", flush=True)
                case types.DtmfReceived(event=key):
                    print(f"the caller pressed {key}", flush=True)
                case offhook.CallEnded(by=by):
                    print(f"the call is over, ended by the {by or 'other side'}", flush=True)


if __name__ == "__main__":
    app.run(port=8000)
