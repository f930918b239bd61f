"""A worker that does everything at once."""

import json
import sys

for line in sys.stdin:
    call = json.loads(line)
    first = call[0] if isinstance(call, list) else call
    print(json.dumps({"id": first["id"], "status": "done"}), flush=True)
