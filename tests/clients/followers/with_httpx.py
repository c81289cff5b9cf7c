"""PyPI `httpx-sse`: it does not reconnect by itself, so this passes the last id on."""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

url, token = sys.argv[1:]
last_id = ""
while True:
    headers = {"Authorization": f"Bearer {token}"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url, headers=headers) as source:
            for event in source.iter_sse():
                last_id = event.id
                # It also yields blocks that only set `retry` and an id; by the book those are not events.
                if event.retry is not None:
                    continue
                print(json.dumps({"id": event.id, "data": event.data}), flush=True)
                if event.data == "the end":
                    sys.exit(0)
    except httpx.HTTPError as error:
        print(f"httpx-sse reconnects: {error!r}", file=sys.stderr)
    time.sleep(0.5)
