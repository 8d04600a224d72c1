"""The interpreters that the host must run on: with msgpack and numpy, without both (`-S`), and the oldest that we support."""

import os
import shutil
import subprocess
import sys

import pytest


def _oldest():
    for path in (os.environ.get("WHIPRAY_TEST_PYTHON39"), os.path.expanduser("~/.pyenv/versions/3.9.18/bin/python"), shutil.which("python3.9")):
        if path and os.path.exists(path) and subprocess.run([path, "-c", "pass"], capture_output=True).returncode == 0:
            return path
    return None


FULL = [sys.executable]
BARE = [sys.executable, "-S"]
OLDEST = [_oldest(), "-S"]
# Where it is missing its lane is skipped in sight; test_oldest_python.py looks at the sources all the same.
NO_OLDEST = "no Python 3.9 here for the oldest lane (WHIPRAY_TEST_PYTHON39)"
PYTHONS = {"full": FULL, "bare": BARE, "py39-bare": OLDEST if OLDEST[0] else pytest.param(OLDEST, marks=pytest.mark.skip(reason=NO_OLDEST))}
