import statistics


class Stats:
    """A Python actor needs nothing of ours: any class will do."""

    def __init__(self, *, digits=2):
        self.digits = digits
        self.seen = []

    def add(self, *numbers):
        self.seen.extend(numbers)
        return len(self.seen)

    def mean(self):
        return round(statistics.mean(self.seen), self.digits)
