"""Under a pseudo-terminal, as node-pty starts it: the keys belong to the rank."""

import os
import pty
import signal
import termios

from guard_raylet import alive, folder, raylet, raylets  # noqa: F401


class Terminal:
    """Starts a guard the way node-pty does: forkpty, so that the guard leads the session and the terminal is its own."""

    def __init__(self, raylet):
        argv, env = raylet.command()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.execve(argv[0], argv, env)
            finally:
                os._exit(127)
        self.status = None
        raylet.guard = self

    stdin = stdout = stderr = None

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return None if self.status is None else os.waitstatus_to_exitcode(self.status)

    def wait(self, deadline_s=None):
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(self.status)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def type(self, keys):
        os.write(self.master, keys)


def start(raylet):
    terminal = Terminal(raylet)
    raylet.accept()
    raylet.say(welcome=1)
    raylet.started = raylet.event("started")
    return terminal


def test_ctrl_c_reaches_the_engine_and_not_the_guard(raylet):
    body = "signal.signal(signal.SIGINT, lambda *_: ready('interrupted')); ready('up')\nwhile True: time.sleep(60)"
    terminal = start(raylet.run(body))
    raylet.file("up")
    terminal.type(b"\x03")
    raylet.file("interrupted")
    echo = raylet.beats
    raylet.hear(lambda message: message.get("echo", 0) > echo)
    assert terminal.poll() is None and alive(raylet.started["pid"])
    raylet.say(kill={})
    raylet.gone()
    os.close(terminal.master)


def test_ctrl_c_ends_a_plain_engine_with_sigint(raylet):
    terminal = start(raylet.run("signal.signal(signal.SIGINT, signal.SIG_DFL); ready('up'); time.sleep(60)"))
    raylet.file("up")
    terminal.type(b"\x03")
    assert raylet.event("exited")["signal"] == "SIGINT"
    raylet.gone()
    os.close(terminal.master)


def test_the_engine_reads_what_is_typed_and_its_group_is_in_the_foreground(raylet):
    body = "ready('up'); open('typed.part', 'w').write(input() + str(os.tcgetpgrp(0) == os.getpgrp())); os.rename('typed.part', 'typed')"
    terminal = start(raylet.run(body))
    raylet.file("up")
    terminal.type(b"hello\n")
    assert raylet.file("typed") == "helloTrue"
    assert raylet.event("exited")["code"] == 0
    raylet.gone()
    os.close(terminal.master)


def test_the_guard_may_write_although_the_terminal_stops_background_writers(raylet):
    body = """
import termios
mode = termios.tcgetattr(0)
mode[3] |= termios.TOSTOP
termios.tcsetattr(0, termios.TCSANOW, mode)
ready('up')
time.sleep(60)
"""
    terminal = start(raylet.run(body))
    raylet.file("up")
    assert termios.tcgetattr(terminal.master)[3] & termios.TOSTOP
    raylet.say(kill={})
    raylet.gone()
    os.close(terminal.master)


def test_a_terminal_that_hangs_up_ends_nothing(raylet):
    """Whether the tree ends is the socket's word alone; the engine itself sees the end of its input."""
    body = """
ready('up')
try:
    os.read(0, 1)
except OSError:
    pass
ready('hung-up')
time.sleep(60)
"""
    terminal = start(raylet.run(body))
    raylet.file("up")
    os.close(terminal.master)
    raylet.file("hung-up")
    echo = raylet.beats
    raylet.hear(lambda message: message.get("echo", 0) > echo)
    raylet.say(kill={})
    assert raylet.event("exited")["signal"] == "SIGTERM"
    raylet.gone()
