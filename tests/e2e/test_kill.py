"""kill -9 at random moments: a few rounds of tests/kill/kill.py, of which make proof has 2,000."""
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT

BUILD = pathlib.Path(COMMAND).parent


def test_whoever_is_killed_nothing_is_lost(tmp_path):
    if not (BUILD / "tests/soak/soak_acknowledged").exists():
        pytest.skip("tests/soak was not built")
    command = ["/usr/bin/python3", "-B", ROOT / "tests/kill/kill.py", "--build", BUILD, "--dir", tmp_path / "kill"]
    command += ["--count", "28", "--seed", "7", "--jobs", "2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-1]))
    assert said["ran"] == "28" and said["found"] == "0", done.stdout
    kinds = ("daemon", "application", "library", "recovery", "restore", "verify")
    assert all(int(said[f"kills_{kind}"]) for kind in kinds) and int(said["pages_compared"]) > 1000, done.stdout
