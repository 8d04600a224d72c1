"""An engine to attach to."""

import os
import signal
import time


class Debuggable:
    def answer(self, here):
        breakpoint()
        return here

    def sleep(self, seconds):
        print("sleeping", flush=True)
        time.sleep(seconds)

    def die(self):
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def size(self):
        size = os.get_terminal_size(0)
        return [size.columns, size.lines]

    def say(self, text):
        print(text, flush=True)

    def flood(self, lines):
        """More than fits on the way to a viewer that does not read."""
        for line in range(lines):
            print("%08d %s" % (line, "x" * 90))
