"""Acknowledged means durable: twelve rounds of tests/soak/acknowledged.py, and that a liar is found out."""
import os
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT

pytestmark = pytest.mark.on_disk
BUILD = pathlib.Path(COMMAND).parent
PLACES = "file,fake,two" + ",ceph" * ("HOLDFAST_TEST_S3" in os.environ)


def rounds(tmp_path, *options):
    if not (BUILD / "tests/soak/soak_acknowledged").exists():
        pytest.skip("tests/soak was not built")
    command = ["/usr/bin/python3", "-B", ROOT / "tests/soak/acknowledged.py", "--build", BUILD, "--jobs", 2]
    command += ["--dir", tmp_path / "soak", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100)
    counts = re.search(r"^(\d+) rounds, (\d+) acknowledged, (\d+) lost", done.stdout, re.M)
    assert counts, done.stdout + done.stderr
    return done, [int(n) for n in counts.groups()]


def test_what_was_acknowledged_is_restored(tmp_path):
    done, (count, acknowledged, lost) = rounds(tmp_path, "--rounds", "12", "--places", PLACES)
    assert done.returncode == 0 and lost == 0, done.stdout
    assert count == 12 and acknowledged >= 5, done.stdout


def test_a_service_that_acknowledges_too_early_is_found_out(tmp_path):
    done, (_, _, lost) = rounds(tmp_path, "--rounds", "6", "--places", "file", "--takeovers", "0", "--early")
    assert done.returncode == 1 and lost > 0, done.stdout
