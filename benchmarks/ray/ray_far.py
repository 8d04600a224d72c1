"""Rows with a second raylet on this host, as `src/vs-ray/far-steps.ts` has them."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import ray

from ray_rows import row
from ray_targets import MIB, Actor, ready

START_SECONDS = 60


class FarNode:
    def __init__(self, name="far"):
        self.name = name
        address = ray.get_runtime_context().gcs_address
        options = [f"--address={address}", f'--resources={{"{name}":1}}', "--num-cpus=2", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        self.process = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self.alive():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the second raylet did not come up")
            time.sleep(0.05)

    def alive(self):
        return any(node["Alive"] and self.name in node["Resources"] for node in ray.nodes())

    def actor(self):
        return ready(Actor.options(resources={self.name: 0.001}).remote())[0]

    def kill_raylet(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            for pid in map(int, children.read().split()):
                with open(f"/proc/{pid}/comm") as comm:
                    if comm.read().strip() == "raylet":
                        os.kill(pid, signal.SIGKILL)
                        return
        raise RuntimeError("no raylet among the children")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        deadline = time.monotonic() + START_SECONDS
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.05)


@row("cross-sync")
def _(scale):
    far = FarNode()
    a = far.actor()
    yield lambda: ray.get(a.small_value.remote())
    ray.kill(a)
    far.stop()


@row("cross-64-mib")
def _(scale):
    far = FarNode()
    a = far.actor()
    array = np.ones(64 * MIB, dtype=np.uint8)

    def step():
        assert ray.get(a.first_and_last.remote(ray.put(array))) == 2

    yield step
    ray.kill(a)
    far.stop()


@row("node-killed")
def _(scale):
    def once():
        far = FarNode()
        try:
            a = far.actor()
            pending = a.sleep.remote(3600)
            start = time.perf_counter()
            far.kill_raylet()
            try:
                ray.get(pending)
            except ray.exceptions.RayActorError:
                return (time.perf_counter() - start) * 1000
            raise AssertionError("the call ended well")
        finally:
            far.stop()

    yield {"value": once}
