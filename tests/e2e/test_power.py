"""Power cuts, in small: see tests/crash/power.py; `make proof` has a hundred thousand states."""
import os
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT

BUILD = pathlib.Path(COMMAND).parent
# A service whose database is behind what it was told is safe; and bringing it up to that.
SCENES = "outside,store,forward"


def test_no_power_cut_loses_what_was_acknowledged(tmp_path):
    if not (BUILD / "tests/crash/crash_writer").exists():
        pytest.skip("tests/crash was not built")
    command = ["/usr/bin/python3", "-B", ROOT / "tests/crash/power.py", "--build", BUILD, "--scenes", SCENES, "--jobs", "1"]
    command += ["--count", "300", "--starts", "6", "--seed", str(int.from_bytes(os.urandom(3), "big"))]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    explored, started = done.stdout.splitlines()[-2:]
    ran = {k: int(n) for k, n in re.findall(r" (ran|behind|restored)=(\d+)", explored)}
    assert ran["ran"] == 300 and ran["behind"] > 0 and ran["restored"] > 0, explored
    assert " ran=6 " in started, started
