"""The configuration, and the small parts that have no process of their own."""

import ast
import json
import os
import subprocess

import pytest
from guard_raylet import GUARD, PYTHON, folder, raylet, raylets  # noqa: F401

from whipray_guard_io import Process, kill_groups, parse_object, read_process, send_signal

KEYS = "lease epoch cluster node raylet socket token argv cwd env locks graceMs beatTimeoutMs killByMs searchKey pdeathsig".split()


def refusal(raylet):
    """Launches with a bad configuration: the words on stderr; no connection, exit code 64, and the file is gone."""
    raylet.launch()
    assert raylet.exit_code() == 64
    assert [name for name in os.listdir(raylet.folder) if name.startswith("config-")] == []
    raylet.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        raylet.listener.accept()
    text = raylet.guard.stderr.read().decode()
    assert "Traceback" not in text and "c0ffee" not in text
    return text


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(raylet, key):
    del raylet.config[key]
    assert "%r is missing" % key in refusal(raylet)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lease", ""),
        ("lease", 1),
        ("lease", "a\0b"),
        ("lease", "x" * 257),
        ("lease", "\ud800"),
        ("epoch", -1),
        ("epoch", 1.5),
        ("epoch", True),
        ("token", ["c0ffee"]),
        ("socket", "x" * 4097),
        ("argv", []),
        ("argv", "python3"),
        ("argv", [""]),
        ("argv", ["python3", 1]),
        ("argv", ["python3", "\0"]),
        ("cwd", ""),
        ("env", []),
        ("env", {"A": 1}),
        ("env", {"A=B": "1"}),
        ("env", {"": "1"}),
        ("env", {"A": "\0"}),
        ("locks", "GPU-1.lock"),
        ("locks", [1]),
        ("locks", ["x"] * 257),
        ("graceMs", -1),
        ("graceMs", "5000"),
        ("graceMs", float("nan")),
        ("graceMs", float("inf")),
        ("beatTimeoutMs", True),
        ("killByMs", 15000),
        ("searchKey", "A=B"),
        ("pdeathsig", 1),
    ],
)
def test_a_malformed_value_is_named_but_not_shown(raylet, key, value):
    raylet.config[key] = value
    assert "%r must be" % key in refusal(raylet)


def test_unknown_keys_are_ignored_and_the_file_is_unlinked(raylet):
    raylet.config["futureKey"] = {"a": 1}
    raylet.start()
    assert [name for name in os.listdir(raylet.folder) if name.startswith("config-")] == []
    raylet.gone()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ud7ff{}", "[" * 100000])
def test_a_file_that_is_no_json_object_is_refused(raylet, text):
    def write():
        path = os.path.join(raylet.folder, "config-x")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
        return path

    raylet.write_config = write
    assert "holds no JSON object" in refusal(raylet)


def start_with(env):
    return subprocess.run([PYTHON, "-I", "-S", GUARD], env=env, capture_output=True, text=True, timeout=20)


def test_without_the_variable_or_the_file_it_says_so():
    for env in ({}, {"WHIPRAY_GUARD_CONFIG": ""}, {"WHIPRAY_GUARD_CONFIG": "/nowhere/config"}):
        done = start_with(env)
        assert done.returncode == 64
        assert done.stderr.startswith("whipray_guard: ") and done.stderr.count("\n") == 1


def test_a_file_that_others_can_read_is_refused(raylet):
    path = raylet.write_config()
    os.chmod(path, 0o640)
    assert "mode 0600" in start_with({"WHIPRAY_GUARD_CONFIG": path}).stderr


def test_a_fifo_or_a_link_is_refused_without_waiting(folder):
    os.mkfifo(os.path.join(folder, "fifo"), 0o600)
    os.symlink("/etc/hostname", os.path.join(folder, "link"))
    for name in ("fifo", "link"):
        assert start_with({"WHIPRAY_GUARD_CONFIG": os.path.join(folder, name)}).returncode == 64


def test_a_process_name_may_hold_anything():
    data = b"42 (a) R 1 (\n) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 1\n"
    process = Process(42, data)
    assert (process.name, process.state, process.parent, process.group, process.start) == ("a) R 1 (\n", "S", 7, 8, 123456)


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_signal_goes_to_the_start_time_and_not_to_the_pid(pidfd, monkeypatch):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen(["sleep", "60"])
    try:
        process = read_process(child.pid)
        process.start += 1
        assert send_signal(process, 9) is False
        assert child.poll() is None
        process.start -= 1
        assert send_signal(process, 9) is True
        assert child.wait(20) == -9
        assert send_signal(process, 9) is False
    finally:
        child.kill()
        child.wait()


def test_only_groups_without_a_stranger_are_killed_as_a_whole():
    leader = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: os.setpgid(0, 0))
    member = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: os.setpgid(0, leader.pid))
    try:
        everyone = {pid: read_process(pid) for pid in (os.getpid(), leader.pid, member.pid)}
        assert everyone[member.pid].group == leader.pid
        kill_groups({leader.pid: everyone[leader.pid]}, everyone)
        assert (leader.poll(), member.poll()) == (None, None)
        kill_groups({pid: everyone[pid] for pid in (leader.pid, member.pid)}, everyone)
        assert (leader.wait(20), member.wait(20)) == (-9, -9)
    finally:
        for child in (leader, member):
            child.kill()
            child.wait()


def test_it_is_python_3_9_and_the_standard_library_alone():
    folder = os.path.dirname(GUARD)
    allowed = {"ctypes", "errno", "fcntl", "json", "os", "select", "signal", "socket", "stat", "sys", "time", "whipray_guard_io", "whipray_guard_locks"}
    for name in ("whipray_guard.py", "whipray_guard_io.py", "whipray_guard_locks.py"):
        with open(os.path.join(folder, name)) as file:
            source = file.read()
        assert source.count("\n") <= 400
        for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert set(names) <= allowed


def test_parse_object_takes_objects_only():
    assert parse_object(b'{"a":1}') == {"a": 1}
    assert [parse_object(data) for data in (b"", b"1", b"[]", b"\xff", b"{", json.dumps("x").encode())] == [None] * 6
