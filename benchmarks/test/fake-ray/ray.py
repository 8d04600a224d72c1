"""Stands for Ray where only the names of the loops are wanted."""


class _Anything:
    def __call__(self, *args, **options):
        return args[0] if len(args) == 1 and not options and callable(args[0]) else self

    def __getattr__(self, name):
        return self


remote = _Anything()
