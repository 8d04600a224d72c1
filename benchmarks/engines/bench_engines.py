"""The engine of the benchmarks."""


class Echo:
    def echo(self, value):
        return value
