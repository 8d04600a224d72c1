"""Descriptors 0 to 2 belong to the user: a debugger in an engine method, under a pseudo-terminal."""

import os
import pty
import select
import signal
import time

import pytest
from host_pythons import PYTHONS
from host_worker import Worker


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
def test_breakpoint_works_in_a_method_and_the_host_goes_on_answering(python):
    master, slave = pty.openpty()
    seen = b""

    def read_until(word, timeout=20):
        nonlocal seen
        until = time.monotonic() + timeout
        while word not in seen:
            assert time.monotonic() < until, seen
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 65536)

    try:
        with Worker(python, {"TERM": "dumb", "PYTHON_BASIC_REPL": "1"}, stdio=slave) as worker:
            worker.create("whipray_samples.plain.Engine")
            running = worker.begin("debug", 6)
            read_until(b"(Pdb) ")
            assert worker.ask("health")["method"] == "debug"
            seen = b""
            os.write(master, b"p 'value', here\n")
            read_until(b"('value', 42)")
            read_until(b"(Pdb) ")
            seen = b""
            os.write(master, b"here = 43\n")
            read_until(b"(Pdb) ")
            os.write(master, b"c\n")
            assert worker.wait(running) == 43
            assert worker.call("add", 1) == 2
            # pdb keeps SIGINT after its `c`; in the next call Ctrl-C is the call's again.
            running = worker.begin("interruptible")
            worker.running("interruptible")
            worker.process.send_signal(signal.SIGINT)
            assert worker.fails(running)["message"] == "KeyboardInterrupt"
    finally:
        os.close(master)
        os.close(slave)
