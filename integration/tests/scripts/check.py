"""Holds a ledger of `worker.py` against the requests: nothing lost, each account in order.

It knows nothing of lanekeeper: only the file of requests and what the workers wrote themselves.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict


class Account:
    """What the ledger said so far about one account."""

    def __init__(self):
        self.passed = 0  # the highest `n` that was done
        self.last = None  # the last event: (n, event, worker, run)


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def why_wrong(account, n, run, worker, members):
    """Why this record may not start now; `None` when it may."""
    if n > account.passed + 1:
        return f"starts n = {n} though n = {account.passed + 1} is not done"
    if account.last is None:
        return None
    last_n, event, last_worker, last_run = account.last
    if run != last_run or event == "started":
        # The former run or worker was killed: it may go back, to what nobody knew to be done. That
        # the former one is dead is seen by its silence.
        if (run, worker) == (last_run, last_worker):
            return f"starts n = {n} while it still works on n = {last_n}"
        return None
    if members and n <= account.passed:
        # It lost the partition before what it had done was durable, and was given it anew.
        return None
    wanted = last_n + 1 if event == "done" else last_n
    return None if n == wanted else f"starts n = {n} after n = {last_n} was {event}"


def check(requests, ledger, cap, members):
    """`members`: several runs work side by side, each with its own cap; else one after the other."""
    wrong = []
    wanted = {(r["account"], r["n"]) for r in requests}
    last_line = {(line["run"], line["worker"]): i for i, line in enumerate(ledger)}
    accounts = defaultdict(Account)
    done = Counter()
    runs = []
    silenced = set()
    in_flight = defaultdict(set)
    peak = deaths = starts = 0
    for number, line in enumerate(ledger):
        run, worker, name, n, event = (line[k] for k in ("run", "worker", "account", "n", "event"))
        account = accounts[name]
        where = f"line {number + 1}, {name}: "
        if (name, n) not in wanted:
            wrong.append(f"{where}n = {n} was never asked for")
        if not runs or run != runs[-1]:
            if run not in runs:
                runs.append(run)
            elif not members:
                wrong.append(f"{where}run {run} goes on though a later one had begun")
            if not members:
                in_flight.clear()
        if (run, worker) in silenced:
            wrong.append(f"{where}worker {worker} was replaced and goes on")
        if event == "started":
            starts += 1
            problem = why_wrong(account, n, run, worker, members)
            if problem:
                wrong.append(where + problem)
            if account.last and account.last[1] == "started":
                silenced.add((account.last[3], account.last[2]))
            if last_line[(run, worker)] == number:
                deaths += 1
            else:
                in_flight[run].add(worker)
                peak = max(peak, len(in_flight[run]))
        else:
            in_flight[run].discard(worker)
            if account.last != (n, "started", worker, run):
                wrong.append(f"{where}n = {n} is {event} though it was not under way")
            if event == "done":
                done[(name, n)] += 1
                account.passed = max(account.passed, n)
        account.last = (n, event, worker, run)
    lost = sorted(wanted - set(done))
    if lost:
        wrong.append(f"{len(lost)} requests were never done, such as {lost[:5]}")
    if peak > cap:
        wrong.append(f"{peak} workers at once, the cap is {cap}")
    return wrong, {
        "requests": len(wanted),
        "accounts": len({account for account, _ in wanted}),
        "starts": starts,
        "repeats": sum(done.values()) - len(done),
        "deaths": deaths,
        "runs": len(runs),
        "peak": peak,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests")
    parser.add_argument("ledger")
    parser.add_argument("--cap", type=int, required=True, help="of each run")
    parser.add_argument("--members", action="store_true", help="runs work side by side")
    args = parser.parse_args()
    wrong, figures = check(read(args.requests), read(args.ledger), args.cap, args.members)
    print(json.dumps(figures))
    for problem in wrong[:20]:
        print(problem, file=sys.stderr)
    if len(wrong) > 20:
        print(f"and {len(wrong) - 20} more", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
