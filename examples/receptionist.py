"""A phone agent on nothing but the official openai package and the standard library.

It takes the webhook of an incoming call, accepts the call with instructions and a function, and steers the conversation
over the sideband socket. Point OPENAI_BASE_URL at an offhook server, or leave it out for the hosted service:

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=sk-... OPENAI_WEBHOOK_SECRET=whsec_... \
        python examples/receptionist.py --port 8000
"""

import argparse
import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import InvalidWebhookSignatureError, NotFoundError, OpenAI
from websockets.exceptions import InvalidStatus  # the package of the SDK's sockets: openai[realtime]

client = OpenAI()

HOURS = {
    "type": "function",
    "name": "opening_hours",
    "description": "When the clinic is open on a weekday.",
    "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
}


def opening_hours(day: str = "") -> str:
    """The function that the model may call."""
    day = day or datetime.datetime.now().strftime("%A")
    return f"On {day} the clinic is open from nine to five."


FUNCTIONS = {"opening_hours": opening_hours}


def call_function(name: str, arguments: str) -> str:
    """Run a function as the model asks for it; what is wrong with that is told to the model, which may mend it."""
    try:
        return FUNCTIONS[name](**json.loads(arguments))
    except (KeyError, TypeError, ValueError) as failure:
        return f"{name} cannot be called with {arguments}: {failure}"


def answer(call_id: str) -> None:
    """Accept a call, and follow it until its socket closes."""
    try:
        client.realtime.calls.accept(
            call_id,
            type="realtime",
            model="gpt-realtime",
            instructions="You are the receptionist of a small clinic. Be brief and friendly.",
            audio={"input": {"transcription": {"model": "whisper-1"}}},
            tools=[HOURS],
        )
    except NotFoundError:
        print("the caller has given up", flush=True)
        return
    print("the call is accepted", flush=True)
    try:
        with client.realtime.connect(call_id=call_id) as connection:
            # The agent looks up today's hours before it greets, so that it can say them.
            connection.response.create(response={"tool_choice": {"type": "function", "name": "opening_hours"}})
            for event in connection:
                follow(connection, event)
    except InvalidStatus as refused:
        if refused.response.status_code != 404:
            raise
        print("the caller has hung up", flush=True)
        return
    print("the call is over", flush=True)


def follow(connection, event) -> None:
    """Act on one event of the conversation."""
    match event.type:
        # Arguments are whole only when the response is complete; an interruption cuts them anywhere.
        case "response.done" if event.response.status == "completed":
            calls = [item for item in event.response.output or [] if item.type == "function_call"]
            for call in calls:
                output = call_function(call.name, call.arguments)
                print(f"the agent asks {call.name}({call.arguments}): {output}", flush=True)
                connection.conversation.item.create(
                    item={"type": "function_call_output", "call_id": call.call_id, "output": output}
                )
            if calls:
                connection.response.create()
        case "input_audio_buffer.speech_started":
            print("the caller speaks", flush=True)
        case "conversation.item.input_audio_transcription.completed":
            print(f"the caller was understood: {event.transcript}", flush=True)
        case "response.output_audio_transcript.done":
            print(f"the agent says: {event.transcript}", flush=True)
        case "output_audio_buffer.cleared":
            print("the agent is interrupted", flush=True)
        case "error":
            print(f"error: {event.error.message}", flush=True)


class Webhook(BaseHTTPRequestHandler):
    """Takes realtime.call.incoming."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = client.webhooks.unwrap(body, dict(self.headers))
        except InvalidWebhookSignatureError:
            self._reply(400)
            return
        self._reply(200)
        if event.type == "realtime.call.incoming":
            caller = next(header.value for header in event.data.sip_headers if header.name.lower() == "from")
            print(f"a call from {caller.partition(';')[0]}", flush=True)
            threading.Thread(target=answer, args=(event.data.call_id,), daemon=True).start()

    def _reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Webhook)
    print(f"waiting for webhooks on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
