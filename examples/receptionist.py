"""A phone agent on nothing but the official openai package and the standard library.

It takes the webhook of an incoming call, accepts the call with instructions and a function, and steers the conversation
over the sideband socket. Point OPENAI_BASE_URL at an offhook server, or leave it out for the hosted service:

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=sk-... OPENAI_WEBHOOK_SECRET=whsec_... \
        python examples/receptionist.py --port 8000
"""

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import InvalidWebhookSignatureError, NotFoundError, OpenAI

client = OpenAI()

SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "You are the receptionist of a small clinic. Be brief and friendly.",
    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
    "tools": [
        {
            "type": "function",
            "name": "opening_hours",
            "description": "Opening hours of a weekday.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
        }
    ],
}

began = time.monotonic()


def tell(what: str) -> None:
    print(f"{time.monotonic() - began:8.3f} s  {what}", flush=True)


def opening_hours(day: str = "today") -> str:
    return f"On {day} the clinic is open from nine to five."


def converse(call_id: str) -> None:
    """Follow one call until its socket closes."""
    asked_for_hours = False
    with client.realtime.connect(call_id=call_id) as connection:
        connection.response.create(response={"instructions": "Greet the caller."})
        for event in connection:
            match event.type:
                case "input_audio_buffer.speech_started":
                    tell("app: the caller speaks")
                case "input_audio_buffer.speech_stopped":
                    tell("app: the caller has stopped")
                case "conversation.item.input_audio_transcription.completed":
                    tell(f"app: the caller said: {event.transcript}")
                case "response.output_audio_transcript.done":
                    tell(f"app: the agent says: {event.transcript}")
                case "output_audio_buffer.cleared":
                    tell("app: the agent was interrupted")
                case "response.function_call_arguments.done":
                    arguments = json.loads(event.arguments)
                    tell(f"app: the agent calls {event.name}({arguments})")
                    output = {
                        "type": "function_call_output",
                        "call_id": event.call_id,
                        "output": opening_hours(**arguments),
                    }
                    connection.conversation.item.create(item=output)
                case "response.done":
                    called = [item for item in event.response.output or [] if item.type == "function_call"]
                    if called:
                        connection.response.create()
                    elif not asked_for_hours and event.response.status == "cancelled":
                        # After an interruption the agent looks something up, so that the caller hears a tool at work.
                        asked_for_hours = True
                        connection.session.update(session={"type": "realtime", "tool_choice": "auto"})
                case "error":
                    tell(f"app: error: {event.error.message}")
    tell("app: the call is over")


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = client.webhooks.unwrap(body, dict(self.headers))
        except InvalidWebhookSignatureError:
            self._answer(400)
            return
        self._answer(200)
        if event.type == "realtime.call.incoming":
            call_id = event.data.call_id
            caller = next(header.value for header in event.data.sip_headers if header.name.lower() == "from")
            tell(f"app: {caller} calls")
            try:
                client.realtime.calls.accept(call_id, **SESSION)
            except NotFoundError:
                tell("app: the caller has given up")
                return
            threading.Thread(target=converse, args=(call_id,), daemon=True).start()

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Webhook)
    tell(f"app: waiting for calls on http://127.0.0.1:{server.server_port}/")
    server.serve_forever()
