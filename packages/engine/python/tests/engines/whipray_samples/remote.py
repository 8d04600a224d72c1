"""Engines whose results stay where they were made; without numpy."""

from whipray_engine import Tensor


def counted(n):
    return Tensor("u1", [n], bytes(i % 256 for i in range(n)))


class Remote:
    def batch(self, *sizes):
        return {"step": 7, "rows": [{"ids": counted(size), "n": size} for size in sizes], "pair": (1, counted(2))}

    def unfit(self):
        return [counted(3), {"x": {1, 2}}]

    def stream(self, n):
        for size in range(1, n + 1):
            yield {"ids": counted(size)}
        return counted(1)

    def slow(self, seconds):
        import time

        time.sleep(seconds)
        return counted(10)

    def size(self, value):
        """Of what a reference became."""
        data = getattr(value, "data", value)
        return {"type": type(value).__name__, "bytes": memoryview(data).nbytes}


class AsyncRemote:
    async def batch(self, size):
        return [counted(size)]
