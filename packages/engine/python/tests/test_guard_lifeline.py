"""The socket: what the raylet's silence, death and bad lines do; and what the guard's own death does."""

import os
import signal
import time

import pytest
from guard_raylet import DEADLINE_S, alive, folder, raylet, raylets, wait_until  # noqa: F401

SLEEP = "ready('up'); time.sleep(60)"
STUBBORN_TREE = "daemon(lambda: (ready('daemon'), stubborn())); ready('up'); stubborn()"


def test_every_beat_is_echoed(raylet):
    raylet.run(SLEEP).start()
    raylet.until(lambda: raylet.beats >= 3)
    raylet.hear(lambda message: message.get("echo") == 3)
    raylet.say(kill={})
    raylet.gone()
    echoes = [message["echo"] for message in raylet.heard if "echo" in message]
    assert echoes == list(range(1, len(echoes) + 1))


def test_a_dead_raylet_ends_the_tree_whatever_the_grace_f1(raylet):
    raylet.config["graceMs"] = 3600000
    raylet.run(STUBBORN_TREE).start()
    raylet.file("up"), raylet.file("daemon")
    raylet.line.close()
    raylet.line = None
    assert raylet.exit_code() == 0
    assert raylet.carriers() == []


def test_a_dead_raylet_with_unread_lines_ends_the_tree_f1(raylet):
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.say(beat=1)
    raylet.say(signal="SIGKILL")
    raylet.line.close()  # resets: the guard's answers were never read
    raylet.line = None
    assert raylet.exit_code() == 0
    assert raylet.carriers() == []


def test_a_silent_raylet_ends_the_tree_whatever_the_grace_f2(raylet):
    raylet.config.update(beatTimeoutMs=600, killByMs=1400, graceMs=3600000)
    raylet.run(STUBBORN_TREE).start()
    raylet.file("up"), raylet.file("daemon")
    raylet.beating = False
    assert raylet.event("exited")["signal"] == "SIGKILL"
    assert raylet.gone()["reason"] == "raylet_silent"


def test_sigterm_comes_before_sigkill_when_the_raylet_is_silent(raylet):
    raylet.config.update(beatTimeoutMs=600, killByMs=10000)
    raylet.run("signal.signal(signal.SIGTERM, lambda *_: os._exit(4)); " + SLEEP).start()
    raylet.file("up")
    raylet.beating = False
    assert raylet.event("exited")["code"] == 4
    raylet.gone()


def test_other_lines_are_no_beat(raylet):
    raylet.config.update(beatTimeoutMs=600, killByMs=1400)
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.beating = False

    def talk():
        try:
            raylet.say(hello="again")
        except OSError:
            pass  # the guard has hung up: what it said before is still read
        return raylet.events("exited")

    raylet.until(talk)
    raylet.gone()


def test_beats_that_return_do_not_call_off_the_end(raylet):
    raylet.config.update(beatTimeoutMs=400, killByMs=2000)
    raylet.run(STUBBORN_TREE).start()
    raylet.file("up"), raylet.file("daemon")
    raylet.beating = False
    end = time.monotonic() + 0.6
    raylet.until(lambda: time.monotonic() > end)
    raylet.beating = True
    assert raylet.gone()["reason"] == "raylet_silent"


def test_a_guard_that_was_paused_reads_before_it_judges(raylet):
    raylet.config.update(beatTimeoutMs=500, killByMs=1500)
    raylet.run(SLEEP).start()
    raylet.file("up")
    os.kill(raylet.guard.pid, signal.SIGSTOP)
    end = time.monotonic() + 1.0
    raylet.until(lambda: time.monotonic() > end)
    os.kill(raylet.guard.pid, signal.SIGCONT)
    echo = raylet.beats + 1
    raylet.hear(lambda message: message.get("echo", 0) > echo)
    assert alive(raylet.started["pid"])
    raylet.say(kill={})
    raylet.gone()


def test_sigkill_of_the_guard_ends_the_engines_root_f3(raylet):
    raylet.run("signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP).start()
    raylet.file("up")
    raylet.guard.kill()
    raylet.guard.wait()
    wait_until(lambda: not alive(raylet.started["pid"]))
    assert raylet.carriers() == []


def test_without_pdeathsig_the_root_outlives_a_killed_guard(raylet):
    raylet.config["pdeathsig"] = False
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.guard.kill()
    raylet.guard.wait()
    assert raylet.carriers() == [raylet.started["pid"]]
    os.kill(raylet.started["pid"], signal.SIGKILL)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b'{"dance":1}\n', "dance"),
        (b"{}\n", "{}"),
        (b"\n", "no JSON object"),
        (b"[1]\n", "no JSON object"),
        (b"\xff\xfe\x00\n", "no JSON object"),
        (b"[" * 60000 + b"\n", "no JSON object"),
        (b'{"beat":' + b"9" * 60000 + b"}\n", ""),
        (b'{"beat":true}\n', "beat"),
        (b'{"beat":1.5}\n', "beat"),
        (b'{"kill":1}\n', "kill"),
        (b'{"kill":{"graceMs":-1}}\n', "kill"),
        (b'{"kill":{"graceMs":NaN}}\n', "kill"),
        (b'{"kill":{"graceMs":1e999}}\n', "kill"),
        (b'{"kill":{"graceMs":"1"}}\n', "kill"),
        (b'{"signal":"SIGNOTHING"}\n', "SIGNOTHING"),
        (b'{"signal":"SIG_DFL"}\n', "SIG_DFL"),
        (b'{"signal":9}\n', "signal"),
        (b'{"x":"' + b"y" * 70000 + b'"}\n', "longer than 65536"),
        (b"z" * 300000 + b"\n", "longer than 65536"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_an_unknown_line_is_told_and_changes_nothing(raylet, line, word):
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.beating = False
    raylet.say_bytes(line)
    raylet.say(beat=777)
    raylet.hear(lambda message: message.get("echo") == 777)
    if not line.startswith(b'{"beat":99'):  # a fair beat before Python 3.11, which limits the digits
        assert [word in message["message"] for message in raylet.events("unknown_command")] == [True]
    assert alive(raylet.started["pid"])
    raylet.beating = True
    raylet.say(kill={})
    raylet.gone()


def test_an_older_epoch_is_refused_and_is_no_beat(raylet):
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.beating = False
    raylet.say(kill={"graceMs": 0}, epoch=2)
    raylet.say(beat=500, epoch=2)
    raylet.say(beat=501, epoch=3)
    raylet.hear(lambda message: message.get("echo") == 501)
    assert [message["epoch"] for message in raylet.events("stale_epoch")] == [2, 2]
    assert [message["echo"] for message in raylet.heard if "echo" in message][-1] == 501
    assert alive(raylet.started["pid"])
    raylet.beating = True
    raylet.say(kill={"graceMs": 0}, epoch=3)
    raylet.gone()


def test_a_line_in_many_pieces_is_one_line(raylet):
    raylet.run(SLEEP).start()
    raylet.beating = False
    for byte in b'{"beat":4242}\n':
        raylet.say_bytes(bytes([byte]))
    raylet.hear(lambda message: message.get("echo") == 4242)
    raylet.beating = True
    raylet.say(kill={})
    raylet.gone()


def test_a_raylet_that_reads_nothing_is_as_good_as_dead(raylet):
    raylet.run(SLEEP).start()
    raylet.file("up")
    raylet.line.settimeout(DEADLINE_S)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # the guard hangs up; a timeout would be neither
        while True:
            raylet.line.sendall(b'{"beat":1000000000000000000000000000000000000}\n' * 500)
    assert raylet.exit_code() == 0
    assert raylet.carriers() == []


def test_hanging_up_before_the_welcome_starts_nothing_and_exits_67(raylet):
    raylet.run("ready('up')").launch().accept()
    raylet.line.close()
    raylet.line = None
    assert raylet.exit_code() == 67
    assert b"hung up before its welcome" in raylet.guard.stderr.read()
    assert not os.path.exists(os.path.join(raylet.folder, "up"))


@pytest.mark.parametrize("answer", [b'{"refused":"bad token"}\n', b"no json\n", b'{"welcome":2}\n', b'{"beat":1}\n', b"x" * 70000 + b"\n"])
def test_any_other_answer_than_the_welcome_starts_nothing_and_exits_67(raylet, answer):
    raylet.run("ready('up')").launch().accept()
    raylet.say_bytes(answer)
    assert raylet.exit_code() == 67
    assert not os.path.exists(os.path.join(raylet.folder, "up"))


def test_no_answer_within_the_beat_timeout_exits_67(raylet):
    raylet.config.update(beatTimeoutMs=300, killByMs=1000)
    raylet.launch().accept()
    assert raylet.exit_code() == 67
    assert b"said nothing" in raylet.guard.stderr.read()


def test_no_raylet_at_the_socket_exits_67(raylet):
    raylet.config["socket"] = os.path.join(raylet.folder, "nobody.sock")
    raylet.launch()
    assert raylet.exit_code() == 67
    assert b"nobody.sock" in raylet.guard.stderr.read()


def test_sigterm_before_the_welcome_starts_nothing(raylet):
    raylet.run("ready('up')").launch().accept()
    os.kill(raylet.guard.pid, signal.SIGTERM)
    assert raylet.event("gone")["killed"] == []
    assert raylet.exit_code() == 0
    assert not os.path.exists(os.path.join(raylet.folder, "up"))


def test_sigterm_and_the_welcome_together_start_nothing(raylet):
    raylet.run("ready('up')").launch().accept()
    os.kill(raylet.guard.pid, signal.SIGSTOP)
    raylet.say(welcome=1)
    os.kill(raylet.guard.pid, signal.SIGTERM)
    os.kill(raylet.guard.pid, signal.SIGCONT)
    raylet.event("gone")
    assert raylet.exit_code() == 0
    assert raylet.events("started") == []
