#!/usr/bin/env python3
"""An endpoint for `[handler] type = "http"`: adds payments to their accounts' totals. No packages needed.

    WEBHOOK_SECRET=whsec_… python3 http_worker.py 127.0.0.1:8080

    [handler]
    type = "http"
    url = "http://127.0.0.1:8080/records"
    secret = { env = "WEBHOOK_SECRET" }
    records_per_call = 16       # 1: an event in binary mode; more: a batch of consecutive ones of a lane

A record's value here is a line such as {"account": "ann", "cents": 250}.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import time
import urllib.parse


def key(secret):
    coded = secret.startswith("whsec_")
    return base64.b64decode(secret.removeprefix("whsec_")) if coded else secret.encode()


# Several, with spaces between: the old one and the new one, while they are changed.
KEYS = [key(secret) for secret in os.environ["WEBHOOK_SECRET"].split()]


def is_signed(headers, body):
    """Standard Webhooks: whoever does not know the secret, or repeats an old call, is refused."""
    call, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or abs(time.time() - int(at)) > 300:
        return False
    message = f"{call}.{at}.".encode() + body
    right = [base64.b64encode(hmac.digest(key, message, hashlib.sha256)) for key in KEYS]
    given = [part.removeprefix("v1,").encode() for part in headers.get("webhook-signature", "").split()]
    return any(hmac.compare_digest(one, other) for one in given for other in right)


def events(headers, body):
    """The records of a call as (id, value). An id is the same at every try: an idempotency key."""
    if headers.get_content_type() == "application/cloudevents-batch+json":
        for event in json.loads(body):
            # `data` is the payload where it is JSON or text, else `data_base64`; a tombstone has neither.
            yield event["id"], event.get("data")
    else:
        # Attributes are percent-encoded headers: the key is in `ce-partitionkey`, and so on.
        yield urllib.parse.unquote(headers["ce-id"]), body


def apply(value):
    """Applies one record; gives what is to be written together with its checkpoint."""
    payment = value if isinstance(value, dict) else json.loads(value or "")
    account, cents = payment["account"], payment["cents"]
    if not isinstance(account, str) or type(cents) is not int:
        raise TypeError("`account` must be a string and `cents` an integer")
    # Committed exactly once, however often this record is tried.
    return [{"add": {"table": "totals", "key": account, "by": cents}}]


def answer(records):
    """Status, headers and body: so many from the first on are done, with these effects."""
    done, effects = 0, []
    for _id, value in records:
        try:
            effects += [{"record": done, **effect} for effect in apply(value)]
        except (ValueError, KeyError, TypeError) as error:
            if done == 0:
                # Of a batch nobody knows which record is meant: lanekeeper sends them one by one.
                return 422, {}, {"error": f"not a payment: {error!r}"}
            # What is done is done; the next call begins with the bad one.
            break
        except ConnectionError as error:
            # What we depend on is away: nobody's attempt is used up.
            return 503, {"retry-after": "2"}, {"error": str(error)}
        done += 1
    return 200, {}, {"done": done, "effects": effects}


class Endpoint(http.server.BaseHTTPRequestHandler):
    # Connections stay open between calls; headers and body leave at once.
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if is_signed(self.headers, body):
            self.reply(*answer(events(self.headers, body)))
        else:
            self.reply(401, {}, {"error": "the signature is missing, wrong or old"})

    def do_GET(self):
        self.reply(200, {}, {"status": "up"})

    def reply(self, status, headers, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        fields = {"content-type": "application/json", "content-length": len(body), **headers}
        for name, value in fields.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # As many connections as `cap` says may come at once.
    request_queue_size = 128


host, port = sys.argv[1].rsplit(":", 1)
server = Server((host, int(port)), Endpoint)
print(f"listening at http://{host}:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
