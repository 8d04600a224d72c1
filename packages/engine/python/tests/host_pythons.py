"""The interpreters that the host must run on: with msgpack and numpy, without both (`-S`), and the oldest that we support."""

import os
import shutil
import subprocess
import sys


def _oldest():
    for path in (os.environ.get("WHIPRAY_TEST_PYTHON39"), os.path.expanduser("~/.pyenv/versions/3.9.18/bin/python"), shutil.which("python3.9")):
        if path and os.path.exists(path) and subprocess.run([path, "-c", "pass"], capture_output=True).returncode == 0:
            return path
    return None


FULL = [sys.executable]
BARE = [sys.executable, "-S"]
OLDEST = [_oldest(), "-S"]
PYTHONS = {"full": FULL, "bare": BARE}
if OLDEST[0]:
    PYTHONS["py39-bare"] = OLDEST
