import numpy


class Shared:
    """Reads, keeps and returns large arrays."""

    def __init__(self):
        self.kept = None

    def look(self, array):
        """How an array came here: its sum, and the segment that it lies in."""
        start = array.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                low, high = (int(end, 16) for end in line.split()[0].split("-"))
                if low <= start < high:
                    return [float(array.sum()), line.split(None, 5)[-1].strip() if len(line.split()) > 5 else ""]
        return [float(array.sum()), ""]

    def keep(self, array):
        self.kept = array

    def kept_sum(self):
        return float(self.kept.sum())

    def drop(self):
        self.kept = None

    def make(self, length, value):
        return numpy.full(length, float(value))

    def echo(self, array):
        return array
