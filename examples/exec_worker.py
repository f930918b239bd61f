#!/usr/bin/env python3
"""A worker for `[handler] type = "exec"`, whatever the source: adds payments to their accounts' totals.

lanekeeper starts up to `cap` of these, writes a line of JSON for each call to standard input and reads
one from standard output. Messages go to standard error, which lanekeeper logs: any other line ends us.

    [handler]
    type = "exec"
    command = ["python3", "exec_worker.py"]
    records_per_call = 16       # 1: a call is a record; more: an array of consecutive ones of a lane

A record's value here is a line such as {"account": "ann", "cents": 250}.
"""

import json
import sys
import time


class Failed(Exception):
    def __init__(self, status, error, **fields):
        self.answer = {"status": status, "error": error, **fields}


def apply(record):
    """Applies one record; gives what is to be written together with its checkpoint."""
    try:
        # A tombstone has no value; one that is not UTF-8 comes as `value_base64`.
        payment = json.loads(record.get("value", ""))
        account, cents, due = payment["account"], payment["cents"], payment.get("due_ms", 0)
        if not isinstance(account, str) or type(cents) is not int:
            raise TypeError("`account` must be a string and `cents` an integer")
        wait = due - time.time() * 1000
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("reject", f"not a payment: {error!r}") from error
    if wait > 0:
        # Its lane waits, without a slot, at most `failure.backoff_max`.
        raise Failed("retry", "not due yet", after_ms=int(wait) + 1)
    # Committed exactly once, however often this record is tried.
    return [{"add": {"table": "totals", "key": account, "by": cents}}]


def answer(records):
    """So many from the first on are done, with these effects; what of the next one."""
    effects = []
    for done, record in enumerate(records):
        try:
            effects += [{"record": done, **effect} for effect in apply(record)]
        except (Failed, ConnectionError) as error:
            # A lost connection is not this record's fault: no attempt is used up.
            away = {"status": "retry", "error": str(error), "blame": "target"}
            return {**getattr(error, "answer", away), "done": done, "effects": effects}
    return {"status": "done", "effects": effects}


for line in sys.stdin:
    call = json.loads(line)
    run = call if isinstance(call, list) else [call]
    print(json.dumps({"id": run[0]["id"], **answer(run)}), flush=True)
