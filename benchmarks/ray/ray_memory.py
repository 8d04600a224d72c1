"""What the processes of this Ray cost while nothing runs. They carry this run's RAY_TMPDIR in their environment or command line."""

import os
import sysconfig
import time


def family():
    mark = os.environ["RAY_TMPDIR"].encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as environ:
                if mark in environ.read():
                    found.append(int(name))
        except OSError:
            pass  # it ended while we looked, or is not ours
    return found


def uss_mb():
    kib = 0
    for pid in family():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                kib += sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        except OSError:
            pass
    return kib / 1024


def processes():
    return len(family())


def ticks():
    total = 0
    for pid in family():
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total


def cpu_percent(seconds):
    """Of one core."""
    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds * 100


def installed_mb():
    """Of site-packages, without what every virtual environment has."""
    folder = sysconfig.get_paths()["purelib"]
    size = 0
    for path, folders, names in os.walk(folder):
        if path == folder:
            folders[:] = [name for name in folders if not name.startswith(("pip", "setuptools", "pkg_resources"))]
        size += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return size / 1024 / 1024
