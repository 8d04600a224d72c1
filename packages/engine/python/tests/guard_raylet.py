"""A raylet as the guard sees it: a unix socket that welcomes, beats and listens; and the proof that a lease left nothing behind."""

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

GUARD = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "whipray_guard.py")
sys.path.insert(0, os.path.dirname(GUARD))
PYTHON = os.environ.get("WHIPRAY_GUARD_PYTHON", sys.executable)
"""Runs the guard and its engines; pytest itself may be another."""
DEADLINE_S = 20.0
BEAT_S = 0.2
SPAWN = """
import os, signal, subprocess, sys, time

def daemon(body, env=None):
    "Runs body() in a process that has left the tree as far as it can: double fork, setsid, closed descriptors."
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 3)
    body()
    os._exit(0)

def stubborn():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(60)

def ready(path):
    "Says to the test that everything stands; whole or not at all."
    with open(path + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
"""


class Raylet:
    """Plays one raylet towards one guard. It beats whenever the test waits for something, unless `beating` is False."""

    def __init__(self, folder, **config):
        self.folder = folder
        self.lease = config.get("lease", "lease_" + os.urandom(6).hex())
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = os.path.join(folder, self.lease[-12:] + ".sock")
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.config = {
            "lease": self.lease,
            "epoch": 3,
            "cluster": "cluster_a",
            "node": "node_a",
            "raylet": "raylet_a",
            "socket": self.path,
            "token": "c0ffee",
            "argv": [PYTHON, "-I", "-S", "-c", "raise SystemExit(7)"],
            "cwd": folder,
            "env": {"PATH": os.environ.get("PATH", os.defpath)},
            "locks": [],
            "graceMs": 5000,
            "beatTimeoutMs": 15000,
            "killByMs": 18000,
            "searchKey": "WHIPRAY_LEASE",
            "pdeathsig": True,
            **config,
        }
        self.guard = None
        self.line = None
        self.inbox = b""
        self.heard = []
        self.hello = self.started = None
        self.welcomed = False  # no beat goes out before the welcome
        self.beating = True
        self.beats = 0
        self.next_beat = 0.0

    def run(self, body):
        """Makes the engine a Python program, with SPAWN's words at hand."""
        self.config["argv"] = [PYTHON, "-I", "-S", "-c", SPAWN + body]
        return self

    def write_config(self):
        path = os.path.join(self.folder, "config-" + os.urandom(4).hex())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w") as file:
            json.dump(self.config, file)
        return path

    def command(self):
        """What starts a guard: (argv, env)."""
        return [PYTHON, "-I", "-S", GUARD], {"WHIPRAY_GUARD_CONFIG": self.write_config()}

    def launch(self, **options):
        argv, env = self.command()
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.guard = subprocess.Popen(argv, env=env, **options)
        return self

    def accept(self):
        """Takes the guard's connection and returns its hello."""
        self.listener.settimeout(DEADLINE_S)
        self.line, _ = self.listener.accept()
        return self.hear(lambda message: "hello" in message)

    def start(self, **options):
        """Launches, welcomes, and waits for `started`."""
        self.launch(**options)
        self.hello = self.accept()
        self.say(welcome=1)
        self.started = self.event("started")
        return self

    def say(self, **message):
        self.welcomed = self.welcomed or "welcome" in message
        self.say_bytes(json.dumps(message).encode() + b"\n")

    def say_bytes(self, data):
        self.line.sendall(data)

    def pump(self, wait_s):
        """Beats when due and reads what has come; False at EOF."""
        if self.beating and self.welcomed and time.monotonic() >= self.next_beat:
            self.next_beat = time.monotonic() + BEAT_S
            self.beats += 1
            try:
                self.say(beat=self.beats)
            except OSError:
                pass  # the guard is gone: the read below tells
        if not select.select([self.line], [], [], wait_s)[0]:
            return True
        try:
            chunk = self.line.recv(1 << 16)
        except ConnectionResetError:
            chunk = b""
        *lines, self.inbox = (self.inbox + chunk).split(b"\n")
        for line in lines:
            assert len(line) <= 65536
            self.heard.append(json.loads(line))
        return chunk != b""

    def hear(self, wanted, deadline_s=DEADLINE_S):
        """The first message so far, or to come, that is wanted."""
        end = time.monotonic() + deadline_s
        seen = 0
        alive = True
        while True:
            while seen < len(self.heard):
                if wanted(self.heard[seen]):
                    return self.heard[seen]
                seen += 1
            assert alive, "the guard hung up; heard %s" % self.heard
            assert time.monotonic() < end, "not heard in time; heard %s" % self.heard
            alive = self.pump(0.05)

    def event(self, name, deadline_s=DEADLINE_S):
        return self.hear(lambda message: message.get("event") == name, deadline_s)

    def events(self, name):
        return [message for message in self.heard if message.get("event") == name]

    def until(self, condition, deadline_s=DEADLINE_S):
        """Goes on beating until condition() is true, and returns what it returned."""
        end = time.monotonic() + deadline_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, "condition not met in time; heard %s" % self.heard
            if self.line is None or not self.pump(0.02):
                time.sleep(0.02)

    def file(self, name):
        """The text of a file in the folder, as soon as the engine has made it whole."""
        path = os.path.join(self.folder, name)
        self.until(lambda: os.path.exists(path))
        with open(path) as file:
            return file.read()

    def gone(self, deadline_s=DEADLINE_S):
        """Waits for the end; the `gone` event, after proof that nothing of the lease is left and that the guard has exited with 0."""
        message = self.event("gone", deadline_s)
        assert self.carriers() == []
        assert self.exit_code() == 0
        return message

    def exit_code(self):
        """The guard's exit code; it may not need more than the deadline."""
        return self.guard.wait(DEADLINE_S)

    def carriers(self):
        """Pids of living processes whose environment names the lease: looked up from outside, by code that the guard does not share."""
        mark = ("WHIPRAY_LEASE=" + self.lease).encode()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % name, "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
        return found

    def end_carriers(self):
        """Kills what carries the lease, whole groups at once; True when there was nothing."""
        pids = self.carriers()
        for pid in pids:
            try:
                group = os.getpgid(pid)
                if group == os.getpgrp():
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not pids

    def close(self):
        """Ends what a test left, and fails if there was something that the guard should have ended."""
        try:
            for line in filter(None, (self.line, self.listener)):
                line.close()  # EOF: the guard has two seconds
            if self.guard is not None:
                self.guard.wait(DEADLINE_S)
                for stream in filter(None, (self.guard.stdin, self.guard.stdout, self.guard.stderr)):
                    stream.close()
            wait_until(lambda: not self.carriers())
        finally:
            if self.guard is not None and self.guard.poll() is None:
                self.guard.kill()
                self.guard.wait()
            wait_until(self.end_carriers)


def wait_until(condition, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)


def alive(pid):
    """Whether the pid runs; a zombie does not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def is_free(lock):
    """Whether nobody holds the lock file."""
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


@pytest.fixture
def folder():
    """A short path, as unix sockets need; gone after the test."""
    path = tempfile.mkdtemp(prefix="wg-", dir="/tmp")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def raylets(folder):
    """Makes raylets: raylets(**config). All must end without a trace."""
    made = []

    def make(**config):
        made.append(Raylet(folder, **config))
        return made[-1]

    yield make
    try:
        for one in made:
            one.close()
    finally:
        for one in made:
            if one.guard is not None and one.guard.poll() is None:
                one.guard.kill()


@pytest.fixture
def raylet(raylets):
    return raylets()
