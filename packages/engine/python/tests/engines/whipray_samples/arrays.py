"""Engines of the tests that use numpy."""

import numpy as np


class Arrays:
    def __init__(self, weights=None):
        self.weights = np.zeros(100_000, dtype="f4") if weights is None else weights

    def describe(self, array):
        return {
            "dtype": str(array.dtype), "shape": list(array.shape), "writable": bool(array.flags.writeable),
            "sum": float(array.astype("f8").sum()) if array.dtype.kind not in "c" else 0.0, "type": type(array).__name__,
        }

    def give(self, value):
        return value

    def double(self, array):
        array *= 2
        return array

    def make(self, n, dtype="f4"):
        return np.arange(n).astype(dtype)

    def shared(self):
        """Returns live memory, which the next call overwrites."""
        return {"w": self.weights}

    def overwrite(self, value):
        self.weights[:] = value

    def awkward(self):
        base = np.arange(60_000, dtype="f8").reshape(300, 200)
        return {"t": base.T, "step": base[::2, ::3], "zero": np.zeros((0, 3)), "scalar": np.array(3.5), "big": base.astype(">f8"), "item": np.float32(2.5), "flag": np.bool_(True)}

    def bad(self):
        return {"x": np.array(["a", "b"])}

    def batches(self, n, size):
        for i in range(n):
            yield {"i": i, "data": np.full(size, i, dtype="f4")}

    def random(self):
        return float(np.random.random())
