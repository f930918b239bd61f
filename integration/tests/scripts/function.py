"""A function on the Lambda Runtime API that does what its event says: for tests of the environments.

Of an event of Kinesis, it reports the records whose data the variable FAILS lists, and hangs at one whose
data are those of the variable HANGS.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time

ticks = {"last": time.monotonic(), "gap": 0.0}


def tick():
    """Sees for how long the whole process stood still."""
    while True:
        now = time.monotonic()
        ticks["gap"] = max(ticks["gap"], now - ticks["last"])
        ticks["last"] = now
        time.sleep(0.001)


def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, f"/2018-06-01/runtime/{path}", body)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


def begin():
    kind = os.environ.get("INIT")
    if kind == "error":
        error = {"errorType": "Config.Broken", "errorMessage": "no table"}
        call("POST", "init/error", json.dumps(error))
        sys.exit(1)
    if kind == "exit":
        sys.exit("it does not begin")
    if kind == "slow":
        time.sleep(5)


def reported(event):
    fails = os.environ.get("FAILS", "").split(",")
    failures = []
    for record in event["Records"]:
        kinesis = record["kinesis"]
        data = base64.b64decode(kinesis["data"]).decode()
        if data == os.environ.get("HANGS"):
            time.sleep(600)
        if data in fails:
            failures.append({"itemIdentifier": kinesis["sequenceNumber"]})
    return {"batchItemFailures": failures}


def told(count, headers):
    # It may be read before the other thread has run again.
    gap = max(ticks["gap"], time.monotonic() - ticks["last"])
    ticks["gap"] = 0.0
    return {
        "pid": os.getpid(),
        "invocations": count,
        "headers": headers,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "now": time.time() * 1000,
        "gap": gap,
    }


def handle(count, headers, event):
    """What is answered, and to which path."""
    do = event.get("do")
    own = headers["lambda-runtime-aws-request-id"]
    path = f"invocation/{own}/response"
    if "Records" in event:
        return path, json.dumps(reported(event))
    if do == "error":
        error = {"errorType": "Order.Unknown", "errorMessage": "no such order"}
        return f"invocation/{own}/error", json.dumps(error)
    if do == "exit":
        sys.exit("it ends")
    if do == "sleep":
        time.sleep(event["seconds"])
    if do == "large":
        status, _, _ = call("POST", path, "x" * event["bytes"])
        print("answered", event["bytes"], "bytes:", status, flush=True)
        return None, None
    if do == "stray":
        other, _, _ = call("POST", "invocation/another/response", "{}")
        again, _, _ = call("GET", "invocation/next")
        nowhere, _, _ = call("GET", "invocation/last")
        return path, json.dumps([other, again, nowhere])
    if do == "child":
        return path, json.dumps({"child": subprocess.Popen(["sleep", "600"]).pid})
    return path, json.dumps(told(count, headers))


def main():
    begin()
    threading.Thread(target=tick, daemon=True).start()
    count = 0
    while True:
        _, headers, body = call("GET", "invocation/next")
        count += 1
        event = json.loads(body)
        path, answer = handle(count, headers, event)
        if path:
            call("POST", path, answer)
        if event.get("do") == "answer and exit":
            sys.exit("it ends behind its answer")
        if event.get("do") == "answer and linger":
            time.sleep(600)


main()
