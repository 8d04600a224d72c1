"""Starts Ray with its defaults, with prestarted workers, or as a client of a head on this host."""

import os
import socket
import subprocess
import sys
import tempfile
import time

import ray


def connect(mode):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = tempfile.mkdtemp(prefix="r", dir=os.environ["RAY_TMPDIR"])
    if mode == "client":
        return connect_client(folder)
    config = {"enable_worker_prestart": True} if mode == "prestart" else None
    ray.init(resources={"custom": 100}, log_to_driver=False, _system_config=config, _temp_dir=folder)
    return ray.shutdown


def connect_client(folder):
    """A head in processes of its own, reached through `ray://` on this host."""
    gcs, client = free_port(), free_port()
    ports = [f"--port={gcs}", f"--ray-client-server-port={client}", "--include-dashboard=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}", *ports]
    server = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            ray.init(f"ray://127.0.0.1:{client}", log_to_driver=False)
            break
        except ConnectionError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise

    def close():
        ray.shutdown()
        server.terminate()
        server.wait(30)

    return close


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def facts():
    return {"ray": ray.__version__, "pid": os.getpid()}
