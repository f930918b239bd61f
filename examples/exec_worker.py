#!/usr/bin/env python3
"""A worker for `[handler] type = "exec"`: adds each payment to its account's total.

lanekeeper starts it, writes one line of JSON per record to its standard input and reads one line of
JSON per record from its standard output. Anything else on standard output ends the worker, so
messages go to standard error, which lanekeeper logs.

    [handler]
    type = "exec"
    command = ["python3", "exec_worker.py"]

A record's value here is a line such as {"account": "ann", "cents": 250}.
"""

import json
import sys


class Rejected(Exception):
    """No try of this record will ever succeed."""


def apply(record):
    """Applies one record; gives the effects to be written together with its checkpoint."""
    try:
        payment = json.loads(record.get("value", ""))
        account, cents = payment["account"], payment["cents"]
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"not a payment: {error!r}") from error
    if not isinstance(account, str) or type(cents) is not int:
        raise Rejected("`account` must be a string and `cents` an integer")
    # Committed exactly once, however often this record is tried.
    return [{"add": {"table": "totals", "key": account, "by": cents}}]


def answer(record):
    try:
        return {"status": "done", "effects": apply(record)}
    except Rejected as error:
        return {"status": "reject", "error": str(error)}
    except ConnectionError as error:
        # Not this record's fault: it is tried again without using up an attempt.
        return {"status": "retry", "error": str(error), "blame": "target"}
    except Exception as error:
        return {"status": "retry", "error": repr(error)}


for line in sys.stdin:
    record = json.loads(line)
    print(json.dumps({"id": record["id"], **answer(record)}), flush=True)
