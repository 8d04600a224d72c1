"""Becomes another program that holds the locks of its devices for as long as it lives (see GUARD.md, "Workers").

    python3 -I -S whipray_hold.py '{"cluster":…,"node":…,"raylet":…,"lease":…,"locks":[…]}' node worker.js
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from whipray_guard_io import take_locks  # noqa: E402

EXIT_LOCKED = 65


def main():
    config = json.loads(sys.argv[1])
    me = {key: config[key] for key in ("cluster", "node", "raylet", "lease")}
    held, refusal = take_locks(config["locks"], {**me, "pid": os.getpid()})
    if refusal:
        # The raylet reads this line: one JSON object.
        print(json.dumps(refusal), file=sys.stderr, flush=True)
        return EXIT_LOCKED
    for fd in held:
        os.set_inheritable(fd, True)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
