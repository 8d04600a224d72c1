"""A generator with an item that cannot cross."""


class Odd:
    was_closed = False

    def unfit_item(self):
        try:
            yield 0
            yield {"x": object()}
            yield 2
        finally:
            self.was_closed = True

    def closed(self):
        return self.was_closed

    def treacherous(self):
        class Treacherous(dict):
            def items(self):
                raise RuntimeError("device lost")

            __iter__ = values = items

        return Treacherous(a=1)
