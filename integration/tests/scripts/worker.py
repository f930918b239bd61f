"""A worker as a user writes one, that also keeps a ledger of what it was asked to do.

The ledger is the tests' own word on what happened: one line per event, one write per line, appended
by all workers of all runs, so that the order of its lines is the order of the events.
"""

import argparse
import json
import os
import sys
import time
import zlib


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledger")
    parser.add_argument("--fails", type=int, default=0, help="tries of 1000 that answer retry")
    parser.add_argument("--dies", type=int, default=0, help="tries of 1000 that end the worker")
    parser.add_argument("--millis", type=float, default=0, help="how long one record takes")
    parser.add_argument("--effects", action="store_true", help="count each account's records")
    parser.add_argument("--each", action="store_true", help="count each record, by account and `n`")
    parser.add_argument("--dynamodb", metavar="TABLE", help="append each `n` to its account's item")
    parser.add_argument("--note", type=int, metavar="BYTES", help="write so much for each account")
    parser.add_argument("--broken", type=int, help="reject this `n` until a file `mended` exists")
    parser.add_argument("--closed", help="reject this account until a file `mended` exists")
    return parser.parse_args()


def effects_of(args, request):
    account, n = request["account"], request["n"]
    if args.effects:
        yield {"add": {"table": "counts", "key": account, "by": 1}}
    if args.each:
        yield {"add": {"table": "each", "key": f"{account}/{n}", "by": 1}}
    if args.note:
        yield {"put": {"table": "notes", "key": account, "value": f"{n:0{args.note}}"}}
    if args.dynamodb:
        # Whatever is applied twice, left out or too early shows in the list.
        update = {
            "TableName": args.dynamodb,
            "Key": {"pk": {"S": "applied"}, "sk": {"S": account}},
            "UpdateExpression": "SET #n = list_append(if_not_exists(#n, :none), :n)",
            "ExpressionAttributeNames": {"#n": "requests"},
            "ExpressionAttributeValues": {":none": {"L": []}, ":n": {"L": [{"N": str(n)}]}},
        }
        yield {"dynamodb": {"Update": update}}


def main():
    args = arguments()
    ledger = os.open(args.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    run_by = os.getppid()

    def note(event, record, request):
        line = {"event": event, "run": run_by, "worker": os.getpid()}
        line |= {"account": request["account"], "n": request["n"]}
        line |= {"id": record["id"], "attempt": record["attempt"]}
        os.write(ledger, (json.dumps(line) + "\n").encode())

    def handle(record, request):
        note("started", record, request)
        # The same try of the same record always draws the same.
        draw = zlib.crc32(f"{record['id']} {record['attempt']}".encode()) % 1000
        if draw < args.dies:
            os._exit(1)
        if args.millis:
            time.sleep(args.millis / 1000)
        is_refused = request["n"] == args.broken or request["account"] == args.closed
        if is_refused and not os.path.exists("mended"):
            note("failed", record, request)
            return {"status": "reject", "error": f"cannot apply n = {request['n']}"}
        if draw < args.dies + args.fails:
            note("failed", record, request)
            return {"status": "retry", "error": "bad luck"}
        note("done", record, request)
        return {"status": "done"}

    for line in sys.stdin:
        call = json.loads(line)
        records = call if isinstance(call, list) else [call]
        answer = {"id": records[0]["id"]}
        effects = []
        for done, record in enumerate(records):
            request = json.loads(record["value"])
            outcome = handle(record, request)
            answer |= outcome
            if outcome["status"] != "done":
                answer["done"] = done
                break
            for effect in effects_of(args, request):
                effects.append(effect | {"record": done} if isinstance(call, list) else effect)
        if effects:
            answer["effects"] = effects
        if not isinstance(call, list):
            answer.pop("done", None)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
