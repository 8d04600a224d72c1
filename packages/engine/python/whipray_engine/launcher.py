"""An engine that runs other programs: the further nodes of a server that spans several machines (AReaL R2: the launcher actor)."""

import asyncio
import os
import signal
import sys

from .errors import HostError

PROCESSES_LIMIT = 64
STOP_GRACE_MS = 5_000


class Launcher:
    """Processes by name. Their output goes where the host's goes, their whole group is signalled; the guard ends what is left."""

    def __init__(self):
        self.processes = {}

    async def start(self, name, argv, env=None):
        """Starts a program with this host's environment and `env`; a leading `python` or `python3` is this interpreter."""
        if self.status(name)["exists"] and self.processes[name].returncode is None:
            raise HostError("ENGINE_EXISTS", "process %.80r runs already; stop it first" % name)
        if name not in self.processes and len(self.processes) >= PROCESSES_LIMIT:
            raise HostError("LIMIT", "a launcher has at most %d processes" % PROCESSES_LIMIT)
        program = sys.executable if argv[0] in ("python", "python3") else argv[0]
        process = await asyncio.create_subprocess_exec(
            program, *argv[1:], env=dict(os.environ, **(env or {})), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        self.processes[name] = process
        return {"pid": process.pid}

    def status(self, name):
        """AReaL: worker_statuses. `returncode` is None while it runs, minus the signal when one ended it."""
        process = self.processes.get(name)
        if process is None:
            return {"exists": False}
        return {"exists": True, "pid": process.pid, "returncode": process.returncode}

    async def wait(self, name):
        """The return code, when the process has ended. Raises NOT_FOUND."""
        return await self._process(name).wait()

    async def stop(self, name, grace_ms=STOP_GRACE_MS):
        """SIGTERM, after the grace SIGKILL; unknown afterwards. One that is gone, or was never there, is no error."""
        process = self.processes.get(name)
        if process is None:
            return
        for number, seconds in ((signal.SIGTERM, grace_ms / 1000), (signal.SIGKILL, None)):
            if process.returncode is None:
                _signal(process, number)
            try:
                await asyncio.wait_for(process.wait(), seconds)
                break
            except asyncio.TimeoutError:
                pass
        _signal(process, signal.SIGKILL)  # what is left of its group
        if self.processes.get(name) is process:
            del self.processes[name]

    async def destroy(self):
        await asyncio.gather(*(self.stop(name) for name in list(self.processes)))

    def _process(self, name):
        if name not in self.processes:
            raise HostError("NOT_FOUND", "there is no process %.80r" % name)
        return self.processes[name]


def _signal(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
