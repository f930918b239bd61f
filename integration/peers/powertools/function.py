"""The function of the comparison, made with Powertools for Python: its batch processor, and, if asked for,
its idempotency with a table.

It does what `benches/function.rs` does: nothing, or, with LANEKEEPER_BENCH_JOURNAL, what each record says.
Between it and the Lambda Runtime API stands as little as possible, as in Lambda's own images for Python.
"""

import http.client
import json
import os
import time

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    process_partial_response,
)

JOURNAL = os.environ.get("LANEKEEPER_BENCH_JOURNAL")
TABLE = os.environ.get("LANEKEEPER_BENCH_IDEMPOTENCY")
KIND = os.environ["LANEKEEPER_BENCH_KIND"]
FUNCTION = os.environ["LANEKEEPER_BENCH_FUNCTION"]


def play(record):
    if JOURNAL is None:
        return
    began, since = time.time_ns(), time.monotonic_ns()
    script = json.loads(record["text"])
    if script["takes_ms"]:
        time.sleep(script["takes_ms"] / 1000)
    fails = script["fails"] > 0 and failures_of(script["name"]) < script["fails"]
    took = time.monotonic_ns() - since
    with open(JOURNAL, "a") as journal:
        journal.write(f"{script['name']} {began} {took} {'failed' if fails else 'done'}\n")
    if fails:
        raise RuntimeError("as the script says")


def failures_of(name):
    with open(JOURNAL, "a+") as journal:
        journal.seek(0)
        lines = [line.split() for line in journal]
    return sum(1 for line in lines if line[0] == name and line[3] == "failed")


def handler_of_records():
    def of(record):
        if KIND == "kinesis":
            return {"id": f"{FUNCTION}:{record.event_id}", "text": record.kinesis.data_as_text()}
        return {"id": f"{FUNCTION}:{record.message_id}", "text": record.body}

    if TABLE is None:
        return (lambda record: play(of(record))), None
    from aws_lambda_powertools.utilities.idempotency import (
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    config = IdempotencyConfig(event_key_jmespath="id")
    once = idempotent_function(
        play,
        data_keyword_argument="record",
        config=config,
        persistence_store=DynamoDBPersistenceLayer(table_name=TABLE),
    )
    return (lambda record: once(record=of(record))), config


class Context:
    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    memory_limit_in_mb = 128
    invoked_function_arn = ""
    aws_request_id = ""

    def __init__(self, deadline):
        self.deadline = deadline

    def get_remaining_time_in_millis(self):
        return int(self.deadline - time.time() * 1000)


def main():
    handle, config = handler_of_records()
    if KIND == "kinesis":
        processor = BatchProcessor(event_type=EventType.KinesisDataStreams)
    else:
        processor = SqsFifoPartialProcessor(skip_group_on_error=True)
    host, _, _ = os.environ["AWS_LAMBDA_RUNTIME_API"].partition("/")
    api = http.client.HTTPConnection(host)
    base = "/2018-06-01/runtime/invocation/"
    while True:
        api.request("GET", base + "next")
        answer = api.getresponse()
        event = json.loads(answer.read())
        context = Context(int(answer.headers["Lambda-Runtime-Deadline-Ms"]))
        if config is not None:
            config.register_lambda_context(context)
        name = answer.headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            said = process_partial_response(event, handle, processor, context)
            api.request("POST", f"{base}{name}/response", json.dumps(said))
        except Exception as error:
            said = {"errorType": type(error).__name__, "errorMessage": str(error)}
            api.request("POST", f"{base}{name}/error", json.dumps(said))
        api.getresponse().read()


if __name__ == "__main__":
    main()
