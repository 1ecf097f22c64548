"""The peer of ``accept.py``: FastAPI with the same route and the official package's own model of the session.

Served by uvicorn with the same C parser and event loop as offhook. It validates, and does nothing else.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Response
from openai.types.realtime import RealtimeSessionCreateRequest

app = FastAPI()


@app.post("/v1/realtime/calls/{call_id}/accept")
async def accept(call_id: str, session: RealtimeSessionCreateRequest, authorization: str = Header()) -> Response:
    """Check the key and the body, and answer as offhook does."""
    if authorization != "Bearer sk-bench":
        raise HTTPException(401)
    if not call_id or session.type != "realtime":
        raise HTTPException(400)
    return Response()


if __name__ == "__main__":
    print("ready", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
