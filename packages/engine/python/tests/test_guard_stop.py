"""The end of a tree: whoever hides in it is found, nobody else is touched."""

import ctypes
import os
import signal
import subprocess

import pytest
from guard_raylet import GUARD, PYTHON, SPAWN, alive, folder, is_free, raylet, raylets, wait_until  # noqa: F401

PTRACE_SEIZE = 0x4206


def test_kill_asks_with_sigterm_first(raylet):
    body = "signal.signal(signal.SIGTERM, lambda *_: os._exit(42)); ready('up'); time.sleep(60)"
    raylet.run(body).start()
    raylet.file("up")
    raylet.say(kill={"graceMs": 20000})
    assert raylet.event("exited")["code"] == 42
    assert raylet.gone()["killed"] == [raylet.started["pid"]]


def test_kill_ends_what_ignores_sigterm_after_the_grace_f22(raylet):
    raylet.run("signal.signal(signal.SIGTERM, signal.SIG_IGN); ready('up'); time.sleep(60)").start()
    raylet.file("up")
    raylet.say(kill={"graceMs": 200})
    assert raylet.event("exited")["signal"] == "SIGKILL"
    assert raylet.gone()["reason"] == "kill"


def test_a_second_kill_can_only_shorten_the_grace(raylet):
    raylet.run("signal.signal(signal.SIGTERM, signal.SIG_IGN); ready('up'); time.sleep(60)").start()
    raylet.file("up")
    raylet.say(kill={"graceMs": 3600000})
    raylet.say(kill={"graceMs": 0})
    raylet.say(kill={"graceMs": 3600000})
    assert raylet.event("exited")["signal"] == "SIGKILL"
    raylet.gone()


def test_a_stopped_engine_gets_its_chance_to_end_itself(raylet):
    raylet.run("signal.signal(signal.SIGTERM, lambda *_: os._exit(3)); ready('up'); time.sleep(60)").start()
    raylet.file("up")
    os.kill(raylet.started["pid"], signal.SIGSTOP)
    raylet.until(lambda: state(raylet.started["pid"]) == "T")
    raylet.say(kill={"graceMs": 20000})
    assert raylet.event("exited")["code"] == 3
    raylet.gone()


def test_setsid_double_fork_and_closed_descriptors_are_found_f24(raylet):
    raylet.run("daemon(lambda: (ready('daemon'), stubborn())); time.sleep(60)").start()
    hidden = int(raylet.file("daemon"))
    raylet.say(kill={"graceMs": 200})
    gone = raylet.gone()
    assert not alive(hidden)
    assert sorted(gone["killed"]) == sorted([hidden, raylet.started["pid"]])


def test_what_the_root_leaves_behind_is_ended_after_its_exit_f24(raylet):
    raylet.config["graceMs"] = 200
    raylet.run("daemon(lambda: (ready('daemon'), stubborn())); raise SystemExit(7)").start()
    hidden = int(raylet.file("daemon"))
    assert raylet.event("exited")["code"] == 7
    assert raylet.gone()["killed"] == [hidden]
    assert not alive(hidden)


def test_a_daemon_that_cleared_its_environment_is_found(raylet):
    body = "daemon(lambda: os.execve('/bin/sh', ['sh', '-c', 'echo $$ > bare.part; mv bare.part bare; trap \"\" TERM; while :; do sleep 1; done'], {}))"
    raylet.config["graceMs"] = 100
    raylet.run(body + "; time.sleep(60)").start()
    hidden = int(raylet.file("bare"))
    try:
        assert alive(hidden) and hidden not in raylet.carriers()
        raylet.say(kill={})
        raylet.gone()
        assert not alive(hidden)
    finally:
        if alive(hidden):
            os.kill(hidden, signal.SIGKILL)  # no search by lease would find it


def test_a_process_outside_the_tree_that_carries_the_lease_is_ended(raylet):
    raylet.run("raise SystemExit(0)")
    env = {"PATH": os.environ["PATH"], "WHIPRAY_LEASE": raylet.lease}
    outsider = subprocess.Popen([PYTHON, "-I", "-S", "-c", SPAWN + "stubborn()"], env=env, start_new_session=True)
    raylet.config["graceMs"] = 100
    raylet.start()
    wait_until(lambda: raylet.pump(0.01) and outsider.poll() is not None)
    assert raylet.gone()["killed"] == [outsider.pid]


def test_strangers_live_on(raylet):
    near = {"other lease": "WHIPRAY_LEASE=lease_other", "longer": "WHIPRAY_LEASE=" + raylet.lease + "x", "other key": "MY_WHIPRAY_LEASE=" + raylet.lease}
    strangers = []
    for pair in near.values():
        key, _, value = pair.partition("=")
        strangers.append(subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], key: value}))
    try:
        raylet.run("time.sleep(60)").start()
        raylet.say(kill={"graceMs": 0})
        raylet.gone()
        assert [stranger.poll() for stranger in strangers] == [None, None, None]
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


def test_a_storm_of_50_processes_is_gone(raylet):
    body = """
for i in range(50):
    if i % 3 == 0:
        daemon(lambda: (open("p%d" % i, "w").close(), stubborn()))
    elif os.fork() == 0:
        if i % 3 == 1:
            os.setpgid(0, 0)
        open("p%d" % i, "w").close()
        stubborn()
ready("up")
stubborn()
"""
    raylet.run(body).start()
    raylet.file("up")
    raylet.until(lambda: len([name for name in os.listdir(raylet.folder) if name.startswith("p")]) == 50)
    raylet.say(kill={"graceMs": 100})
    assert raylet.gone()["killedCount"] == 51


def test_a_fork_bomb_cannot_outrun_the_guard_f25(raylet):
    body = """
import resource
end = time.monotonic() + 30  # should the guard fail, the bomb burns out: nothing else could stop it for sure
def breed():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while time.monotonic() < end:
        try:
            if os.fork():
                time.sleep(0.002)
                os._exit(0)
        except OSError:
            time.sleep(0.01)
for _ in range(8):
    daemon(breed)
ready("up")
breed()
os._exit(0)
"""
    raylet.run(body).start()
    raylet.file("up")
    echo = raylet.beats
    raylet.hear(lambda message: message.get("echo", 0) > echo)  # the guard still answers
    raylet.say(kill={"graceMs": 100})
    raylet.gone()


def test_sigterm_to_the_guard_ends_the_tree_in_order(raylet):
    raylet.run("signal.signal(signal.SIGTERM, lambda *_: os._exit(4)); ready('up'); time.sleep(60)").start()
    raylet.file("up")
    os.kill(raylet.guard.pid, signal.SIGTERM)
    assert raylet.event("exited")["code"] == 4
    assert raylet.gone()["reason"] == "sigterm"


def test_sigint_and_sighup_do_not_reach_the_guards_heart(raylet):
    raylet.run("ready('up'); time.sleep(60)").start()
    raylet.file("up")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTOU, signal.SIGTTIN):
        os.kill(raylet.guard.pid, number)
    echo = raylet.beats
    raylet.hear(lambda message: message.get("echo", 0) > echo)
    assert alive(raylet.started["pid"])
    raylet.say(kill={})
    raylet.gone()


def test_a_signal_goes_to_the_roots_whole_group(raylet):
    body = """
def on_int(*_):
    ready("parent" if os.getpid() == os.getpgrp() else "child")
signal.signal(signal.SIGINT, on_int)
if os.fork() == 0:
    ready("up")
while True:
    time.sleep(60)
"""
    raylet.run(body).start()
    raylet.file("up")
    raylet.say(signal="SIGINT")
    raylet.file("parent")
    raylet.file("child")
    raylet.say(kill={})
    raylet.gone()


def test_a_signal_after_the_root_has_exited_is_refused(raylet):
    raylet.config["graceMs"] = 60000
    raylet.run("daemon(lambda: (ready('daemon'), stubborn()))").start()
    raylet.event("exited")
    raylet.say(signal="SIGTERM")
    assert raylet.event("signal_failed")["signal"] == "SIGTERM"
    raylet.say(kill={"graceMs": 0})
    raylet.gone()


def test_what_cannot_be_ended_is_reported_and_keeps_the_lock_and_the_beat_f23(raylet):
    """A process held by a debugger stays a zombie until that lets go: for the guard the same as one that hangs in a driver."""
    lock = os.path.join(raylet.folder, "GPU-1.lock")
    raylet.config.update(locks=[lock], graceMs=0, beatTimeoutMs=1000, killByMs=1500)
    raylet.run("ready('up'); time.sleep(60)").start()
    raylet.file("up")
    pid = raylet.started["pid"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0:
        pytest.skip("ptrace is not allowed here: errno %d" % ctypes.get_errno())
    try:
        raylet.say(kill={"graceMs": 0})
        left = raylet.event("left")
        name = os.path.basename(PYTHON)[:15]
        assert left["left"] == [{"pid": pid, "startTime": raylet.started["startTime"], "state": "Z", "cmd": name}]
        echo = raylet.beats
        raylet.hear(lambda message: message.get("echo", 0) > echo)
        assert not is_free(lock) and raylet.events("gone") == []
    finally:
        os.waitpid(pid, 0x40000000)  # __WALL: the debugger lets go
    assert raylet.event("exited")["signal"] == "SIGKILL"
    raylet.gone()
    assert is_free(lock)


def with_scan(raylet, scan):
    """Starts the guard with another find_tree for its first five calls; `scan` is that function's body."""
    folder = os.path.dirname(GUARD)
    patched = """
import os, sys
sys.path.insert(0, %r)
import whipray_guard
real, calls = whipray_guard.find_tree, []
def find_tree(*known):
    calls.append(1)
    if len(calls) > 5:
        return real(*known)
    %s
whipray_guard.find_tree = find_tree
os._exit(whipray_guard.main())
"""
    env = {"WHIPRAY_GUARD_CONFIG": raylet.write_config()}
    raylet.command = lambda: ([PYTHON, "-I", "-S", "-c", patched % (folder, scan)], env)
    return raylet.start()


def test_a_scan_that_sees_nothing_is_no_proof_while_the_kernel_knows_a_child(raylet):
    with_scan(raylet.run("ready('up'); stubborn()"), "return {}, {}")
    raylet.file("up")
    raylet.say(kill={"graceMs": 0})
    assert raylet.event("exited")["signal"] == "SIGKILL"
    raylet.gone()


def test_a_fault_of_the_guard_is_told_and_still_ends_the_tree(raylet):
    with_scan(raylet.run("ready('up'); stubborn()"), "raise OSError(24, 'Too many open files')")
    raylet.file("up")
    raylet.say(kill={"graceMs": 3600000})
    assert "Too many open files" in raylet.event("guard_failed")["message"]
    assert len(raylet.events("guard_failed")) == 1
    raylet.gone()


def test_a_root_whose_main_thread_has_ended_is_still_ended(raylet):
    """Its state is Z, as that of the dead, but its other threads run on."""
    body = """
import ctypes, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=lambda: (time.sleep(0.1), ready('up'), time.sleep(60))).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    raylet.run(body).start()
    raylet.file("up")
    raylet.until(lambda: state(raylet.started["pid"]) == "Z")
    assert raylet.events("exited") == []
    raylet.say(kill={"graceMs": 100})
    assert raylet.event("exited")["signal"] == "SIGKILL"
    raylet.gone()


def state(pid):
    with open("/proc/%d/stat" % pid) as file:
        return file.read().rpartition(")")[2].split()[0]
