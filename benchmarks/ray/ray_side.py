"""Ray's side of `npm run bench -- --vs-ray`: runs one row's loop for some time whenever a line on stdin asks for it.

Each request is a JSON line {"row", "seconds", "scale"} or {"end": row}; each answer one on the descriptor that was stdout.
Ray itself and the workers it starts print to stderr. Usage: ray_side.py default|prestart|client
"""

import json
import os
import sys
import time

LEAST_OPEN_LOOP_SECONDS = 0.2  # also in the round that warms up

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import ray_connect  # noqa: E402  (imports ray, which may print)
import ray_far  # noqa: E402, F401
import ray_growth  # noqa: E402, F401
import ray_open_loop  # noqa: E402, F401
import ray_own_rows  # noqa: E402, F401  (adds its rows)
import ray_rows  # noqa: E402


def measure(step, seconds):
    """Steps until the time is over, at least one; the seconds that each took."""
    took = []
    start = now = time.perf_counter()
    while not took or now - start < seconds:
        step()
        then, now = now, time.perf_counter()
        took.append(now - then)
    return took


def answer(reply):
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


def main(mode):
    close = ray_connect.connect(mode)
    running = {}
    answer({"ready": True, "facts": ray_connect.facts()})
    try:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if "end" in request:
                    end(running, request["end"])
                    answer({"ended": True})
                    continue
                row = request["row"]
                if row not in running:
                    rows = ray_rows.ROWS[row](request.get("scale", 1.0))
                    running[row] = (rows, next(rows))
                found = running[row][1]
                if isinstance(found, dict) and "latencies" in found:
                    answer({"took": found["latencies"](max(request["seconds"], LEAST_OPEN_LOOP_SECONDS))})
                elif isinstance(found, dict):
                    answer({"value": found["value"]()})
                else:
                    answer({"took": measure(found, request["seconds"])})
            except Exception as error:  # the harness shows it beside the row and goes on
                answer({"error": f"{type(error).__name__}: {error}"[:500]})
    finally:
        close()


def end(running, row):
    if row in running:
        rows, _ = running.pop(row)
        for _ in rows:
            pass


if __name__ == "__main__":
    main(sys.argv[1])
