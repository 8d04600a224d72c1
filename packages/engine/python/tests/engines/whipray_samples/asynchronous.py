"""Async engines of the tests."""

import asyncio
import threading
import time

import whipray_engine


class AsyncEngine:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.gate = asyncio.Event()
        self.active = self.most = 0
        self.log = []

    async def meet(self):
        """Ends only when `open` was called: proves that calls run at the same time."""
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await self.gate.wait()
        finally:
            self.active -= 1
        return self.most

    def open(self):
        self.gate.set()
        return threading.current_thread() is threading.main_thread()

    async def add(self, a, b):
        await asyncio.sleep(0)
        return a + b

    async def where(self):
        return [threading.current_thread() is threading.main_thread(), asyncio.get_running_loop() is self.loop]

    async def wait_for_cancel(self):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.log.append("cancelled %s" % whipray_engine.is_cancelled())
            raise

    async def slow_to_cancel(self, seconds):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(seconds)
            self.log.append("cleaned up")

    async def fail(self):
        await asyncio.sleep(0)
        raise ValueError("async trouble")

    async def items(self, n, size=0):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                yield "z" * size if size else i
        finally:
            self.log.append("items closed")

    def sync_items(self, n, size=0):
        try:
            for i in range(n):
                yield "z" * size if size else i
        finally:
            self.log.append("sync items closed")
        return "done"

    def block(self, seconds):
        time.sleep(seconds)
        return "blocked"

    def get_log(self):
        return self.log

    def counts(self):
        return [self.active, self.most]

    async def destroy(self):
        await asyncio.sleep(0.01)
        print("async destroyed")
