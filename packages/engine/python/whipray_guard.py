"""Whipray's guard: the small process between a raylet and one engine tree (see GUARD.md).

It holds the devices' lock files, starts the engine, reports its exit code or signal unchanged, and ends the whole tree when the
raylet asks, dies or falls silent. It keeps the locks until /proc shows nothing of the lease: no device ever has two live owners.

Standard library only, Python 3.9 or newer, one thread; it is started for every engine and must start fast.
"""

import json
import os
import select
import signal
import stat
import sys
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # -I leaves it out; at the end, so that nothing here shadows the library
from whipray_guard_io import (  # noqa: E402
    MAX_LINE_BYTES,
    MAX_MESSAGE_CHARS,
    Lifeline,
    describe_exit,
    find_tree,
    kill_groups,
    os_bytes,
    parse_object,
    read_process,
    send_signal,
    settle,
    start_engine,
)
from whipray_guard_locks import take_locks  # noqa: E402

EXIT_GONE = 0
EXIT_CONFIG = 64
EXIT_LOCKED = 65
EXIT_NOT_STARTED = 66
EXIT_REFUSED = 67

MAX_CONFIG_BYTES = 8 << 20
MAX_WORD_CHARS = 256
MAX_PATH_CHARS = 4096
MAX_LOCKS = 256
MAX_MS = 24 * 3600 * 1000
MAX_KILLED_LISTED = 1000
MAX_LEFT_LISTED = 64
MAX_REAPED_A_TURN = 4096

EOF_KILL_S = 1.5
EOF_GONE_S = 2.0
TERM_SWEEP_S = 0.1
KILL_SWEEP_S = 0.02
QUARANTINE_SWEEP_S = 1.0


class Refusal(Exception):
    """Ends the guard before an engine runs: an exit code and a message for stderr."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def is_text(value, limit=None):
    if not isinstance(value, str) or "\0" in value or (limit is not None and len(value) > limit):
        return False
    try:
        return os_bytes(value) is not None
    except UnicodeEncodeError:
        return False


def is_ms(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_MS


def is_env(value):
    return isinstance(value, dict) and all(key and "=" not in key and is_text(key) and is_text(v) for key, v in value.items())


WORD = (lambda v: is_text(v, MAX_WORD_CHARS) and v != "", "a string of 1 to %d characters without NUL" % MAX_WORD_CHARS)
PATH = (lambda v: is_text(v, MAX_PATH_CHARS) and v != "", "a path of 1 to %d characters without NUL" % MAX_PATH_CHARS)
DURATION = (is_ms, "a number of milliseconds from 0 to %d" % MAX_MS)
RULES = {
    "lease": WORD,
    "epoch": (lambda v: type(v) is int and v >= 0, "an integer from 0"),
    "cluster": WORD,
    "node": WORD,
    "raylet": WORD,
    "socket": PATH,
    "token": WORD,
    "argv": (lambda v: isinstance(v, list) and v != [] and v[0] != "" and all(map(is_text, v)), "a list of strings, the program first"),
    "cwd": PATH,
    "env": (is_env, "an object of strings, keys without '='"),
    "locks": (lambda v: isinstance(v, list) and len(v) <= MAX_LOCKS and all(map(PATH[0], v)), "a list of at most %d paths" % MAX_LOCKS),
    "graceMs": DURATION,
    "beatTimeoutMs": DURATION,
    "killByMs": DURATION,
    "searchKey": (lambda v: WORD[0](v) and "=" not in v, "a name for an environment variable"),
    "pdeathsig": (lambda v: isinstance(v, bool), "true or false"),
}


def read_config(path):
    """Reads and unlinks the configuration. It carries the token, so it must be a file that only we can read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                raise Refusal(EXIT_CONFIG, "%s must be a regular file with mode 0600" % path)
            data = file.read(MAX_CONFIG_BYTES + 1)
        os.unlink(path)
    except OSError as error:
        raise Refusal(EXIT_CONFIG, "cannot read and unlink the configuration: %s" % error)
    if len(data) > MAX_CONFIG_BYTES:
        raise Refusal(EXIT_CONFIG, "%s is longer than %d bytes" % (path, MAX_CONFIG_BYTES))
    config = parse_object(data)
    if config is None:
        raise Refusal(EXIT_CONFIG, "%s holds no JSON object" % path)
    for key, (accepts, what) in RULES.items():
        if key not in config:
            raise Refusal(EXIT_CONFIG, "configuration key %r is missing: it must be %s" % (key, what))
        if not accepts(config[key]):
            raise Refusal(EXIT_CONFIG, "configuration key %r must be %s" % (key, what))  # never its value: it may be a secret
    if config["killByMs"] <= config["beatTimeoutMs"]:
        raise Refusal(EXIT_CONFIG, "configuration key 'killByMs' must be greater than 'beatTimeoutMs'")
    return config


class Guard:
    """One lease: a single-threaded loop over the socket, the children and the clock. All times are monotonic seconds."""

    def __init__(self, config, lifeline):
        self.config = config
        self.lifeline = lifeline
        self.mark = b"\0%s=%s\0" % (os_bytes(config["searchKey"]), os_bytes(config["lease"]))
        self.welcomed = False
        self.last_beat = time.monotonic()
        self.locks = None  # descriptors, held until this process ends
        self.root = None  # the engine's first process
        self.root_exited = False
        self.childless = True
        self.terminated = False  # SIGTERM came and is not judged yet
        self.failed = False  # a fault of our own was told
        self.reason = None  # why the tree is being ended; None while it may run
        self.kill_at = self.left_at = self.next_sweep = float("inf")
        self.asked = set()  # identities that were signalled
        self.killed = []  # pids that were alive when they were signalled
        self.killed_count = 0
        self.left = set()  # identities last reported as left
        self.wakeup, writer = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(writer, False)
        self.poll = select.poll()
        self.poll.register(self.wakeup, select.POLLIN)
        self.poll.register(lifeline.socket, select.POLLIN)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_sigterm(self, *_):
        self.terminated = True

    def tell(self, event, **fields):
        self.lifeline.send({"event": event, **fields})

    def run(self):
        """Runs until nothing of the lease is left (SystemExit), or ends before an engine runs (Refusal)."""
        me = read_process(os.getpid())
        told = {key: self.config[key] for key in ("lease", "epoch", "token")}
        self.lifeline.send({"hello": 1, **told, "pid": me.pid, "startTime": me.start})
        while True:
            try:
                self.turn()
            except Refusal:
                self.lifeline.finish()
                raise
            except Exception as error:  # a fault of ours ends the tree, and never frees the device under it
                if self.root is None:
                    raise
                now = time.monotonic()
                if not self.failed:
                    self.failed = True
                    self.tell("guard_failed", message=repr(error)[:MAX_MESSAGE_CHARS])
                self.stop("guard_failed", now, now)
                time.sleep(TERM_SWEEP_S)

    def turn(self):
        # What the raylet sent is read before its silence is judged: after a pause of ours, its beats lie in the socket.
        for message in self.wait():
            self.obey(message)
        self.reap()
        self.judge(time.monotonic())
        if self.reason is not None and time.monotonic() >= self.next_sweep:
            self.sweep()

    # --- the raylet's words --------------------------------------------------------------------------------------------------

    def wait(self):
        """Sleeps until something is due or comes; the messages that came."""
        line = self.lifeline
        until = self.beat_deadline() if self.reason is None else self.next_sweep
        if line.open:
            self.poll.modify(line.socket, select.POLLIN | (select.POLLOUT if line.outbox else 0))
        ready = dict(self.poll.poll(max(0, int((until - time.monotonic()) * 1000) + 1)))
        if self.wakeup in ready:
            os.read(self.wakeup, 4096)
        messages = []
        if line.open and line.socket.fileno() in ready:
            line.flush()
            messages = line.receive()
        if not line.open and line.socket.fileno() >= 0:
            self.poll.unregister(line.socket)
            line.socket.close()
        return messages

    def obey(self, message):
        now = time.monotonic()
        if not self.welcomed:
            if message is None or message.get("welcome") != 1:
                raise Refusal(EXIT_REFUSED, "the raylet did not answer with a welcome of version 1")
            self.welcomed, self.last_beat = True, now
            if self.reason is None and not self.terminated:
                self.start()
        elif message is None:
            self.tell("unknown_command", message="a line longer than %d bytes, or no JSON object" % MAX_LINE_BYTES)
        elif type(message.get("epoch")) is int and message["epoch"] < self.config["epoch"]:
            self.tell("stale_epoch", epoch=message["epoch"], message="this lease is at epoch %d" % self.config["epoch"])
        elif type(message.get("beat")) is int:
            self.last_beat = now
            self.lifeline.send({"echo": message["beat"]})
        elif isinstance(message.get("kill"), dict) and is_ms(message["kill"].get("graceMs", 0)):
            self.stop_gently("kill", message["kill"].get("graceMs", self.config["graceMs"]))
        elif isinstance(message.get("signal"), str) and message["signal"] in signal.Signals.__members__:
            self.signal_root(message["signal"])
        else:
            self.tell("unknown_command", message=json.dumps(message)[:MAX_MESSAGE_CHARS])

    def signal_root(self, name):
        try:
            if self.root is None or self.root_exited:
                raise ProcessLookupError("the engine's root has exited")
            os.killpg(self.root.pid, signal.Signals[name])  # not reaped yet, so the number is still its group's
        except OSError as error:
            self.tell("signal_failed", signal=name, message=str(error)[:MAX_MESSAGE_CHARS])

    def start(self):
        me = {key: self.config[key] for key in ("cluster", "node", "raylet", "lease")}
        self.locks, refused = take_locks(self.config["locks"], {**me, "pid": os.getpid()})
        if refused is not None:
            self.tell("lock_failed", **refused)
            raise Refusal(EXIT_LOCKED, "lock %s: %s" % (refused["path"], refused["message"]))
        pid, failure = start_engine(self.config)
        if failure is not None:
            self.tell("start_failed", **failure)
            raise Refusal(EXIT_NOT_STARTED, failure["message"])
        self.root, self.childless = read_process(pid), False
        self.tell("started", pid=pid, startTime=self.root.start)

    # --- the end of the tree -------------------------------------------------------------------------------------------------

    def beat_deadline(self):
        return self.last_beat + self.config["beatTimeoutMs"] / 1000

    def judge(self, now):
        """Turns SIGTERM, EOF and silence into the end of the tree."""
        grace_s = self.config["graceMs"] / 1000
        silent = now >= self.beat_deadline()
        if not self.welcomed and self.reason is None and (silent or not self.lifeline.open):
            raise Refusal(EXIT_REFUSED, "the raylet %s before its welcome" % ("said nothing" if silent else "hung up"))
        if self.terminated:
            self.terminated = False
            self.stop_gently("sigterm", self.config["graceMs"])
        if not self.lifeline.open:
            self.stop("raylet_gone", now + min(grace_s, EOF_KILL_S), now + EOF_GONE_S)
        elif silent:
            gone_at = self.last_beat + self.config["killByMs"] / 1000
            kill_at = gone_at - (gone_at - self.beat_deadline()) / 4  # the last quarter is for SIGKILL to do its work
            self.stop("raylet_silent", min(now + grace_s, kill_at), gone_at)

    def stop_gently(self, reason, grace_ms):
        now = time.monotonic()
        self.stop(reason, now + grace_ms / 1000, now + max(self.config["killByMs"], grace_ms + 1000) / 1000)

    def stop(self, reason, kill_at, left_at):
        """SIGTERM to all now, SIGKILL at `kill_at`, quarantine at `left_at`. A later call can only make it sooner."""
        if self.reason is None:
            self.reason, self.next_sweep = reason, 0.0
        if kill_at < self.kill_at:
            self.kill_at, self.next_sweep = kill_at, min(self.next_sweep, kill_at)
        self.left_at = min(self.left_at, left_at)

    def reap(self):
        """Waits for all dead children; the kernel's "no child" proves that no descendant lives, whatever /proc showed."""
        for _ in range(MAX_REAPED_A_TURN):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if not self.childless:
                    self.childless, self.next_sweep = True, 0.0
                return
            if pid == 0:
                return
            if self.root is not None and pid == self.root.pid and not self.root_exited:
                self.root_exited = True
                self.tell("exited", pid=pid, **describe_exit(status))
                self.stop_gently("exited", self.config["graceMs"])

    def sweep(self):
        """Finds all that is left, and signals it; ends the guard when nothing is."""
        began = time.monotonic()
        ours, everyone = find_tree(os.getpid(), self.mark)
        if self.childless and not ours:
            self.tell("gone", reason=self.reason, killed=self.killed, killedCount=self.killed_count, left=[])
            self.lifeline.finish()
            raise SystemExit(EXIT_GONE)
        hard = began >= self.kill_at
        if hard:
            kill_groups(ours, everyone)
        for process in ours.values():
            self.end(process, hard)
        self.asked &= {process.identity for process in ours.values()}
        late = began >= self.left_at
        if late:
            self.tell_left(ours)
        now = time.monotonic()
        pause_s = QUARANTINE_SWEEP_S if late else KILL_SWEEP_S if hard else TERM_SWEEP_S
        self.next_sweep = now + max(pause_s, 4 * (now - began))  # on a machine with many processes, a fifth of a core at most
        if not hard:
            self.next_sweep = min(self.next_sweep, self.kill_at)

    def end(self, process, hard):
        if process.identity not in self.asked:
            self.asked.add(process.identity)
            if process.state not in "ZX":
                self.killed_count += 1
                if len(self.killed) < MAX_KILLED_LISTED:
                    self.killed.append(process.pid)
            if not hard:
                send_signal(process, signal.SIGTERM)
                if process.state == "T":
                    send_signal(process, signal.SIGCONT)  # a stopped one cannot end itself
        if hard:
            send_signal(process, signal.SIGKILL)  # a zombie too: it may have threads that run on

    def tell_left(self, ours):
        identities = {process.identity for process in ours.values()}
        if identities and identities != self.left:
            self.left = identities
            some = list(ours.values())[:MAX_LEFT_LISTED]
            left = [{"pid": one.pid, "startTime": one.start, "state": one.state, "cmd": one.name} for one in some]
            self.tell("left", left=left, leftCount=len(ours))


def main():
    try:
        path = os.environ.get("WHIPRAY_GUARD_CONFIG")
        if not path:
            raise Refusal(EXIT_CONFIG, "WHIPRAY_GUARD_CONFIG names no file")
        config = read_config(path)
        settle()
        try:
            lifeline = Lifeline(config["socket"], config["beatTimeoutMs"] / 1000)
        except OSError as error:
            raise Refusal(EXIT_REFUSED, "cannot reach the raylet at %s: %s" % (config["socket"], error)) from None
        Guard(config, lifeline).run()
    except Refusal as refusal:
        # The only words on stderr, and only before an engine runs: later a full pipe with a stopped reader would stop us too.
        try:
            os.write(2, b"whipray_guard: %s\n" % str(refusal).encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody reads
        return refusal.code
    except SystemExit as done:
        return done.code


if __name__ == "__main__":
    os._exit(main())  # at once: the locks go with the process
