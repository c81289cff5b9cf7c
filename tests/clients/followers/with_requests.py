"""PyPI `sseclient-py` on `requests`: it does not reconnect by itself, so this passes the last id on."""

import json
import sys
import time

import requests
import sseclient

url, token = sys.argv[1:]
last_id = ""
while True:
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        with requests.get(url, headers=headers, stream=True, timeout=60) as response:
            response.raise_for_status()
            for event in sseclient.SSEClient(response).events():
                last_id = event.id or last_id
                print(json.dumps({"id": last_id, "data": event.data}), flush=True)
                if event.data == "the end":
                    sys.exit(0)
    except requests.RequestException as error:
        print(f"sseclient-py reconnects: {error!r}", file=sys.stderr)
    time.sleep(0.5)
