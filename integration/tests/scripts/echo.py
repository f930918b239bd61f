"""A worker that writes down what it was handed: one line per record, appended by all workers."""

import json
import os
import sys
import time

SHOWN = 200


def main():
    path, millis = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0
    ledger = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for line in sys.stdin:
        record = json.loads(line)
        if millis:
            time.sleep(millis / 1000)
        value = record.pop("value", None)
        if value is not None:
            record["bytes"] = len(value.encode())
            record["value"] = value[:SHOWN]
        os.write(ledger, (json.dumps(record) + "\n").encode())
        print(json.dumps({"id": record["id"], "status": "done"}), flush=True)


if __name__ == "__main__":
    main()
