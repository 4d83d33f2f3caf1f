"""Many that change the schema at once, and a large table that is changed under load: short forms of tests/soak."""
import os
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT

BUILD = pathlib.Path(COMMAND).parent
EXTENSION = BUILD / "src/ext/holdfast.so"

pytestmark = pytest.mark.file_only("a schema is of the database, not of the replica")


def soak(name, tmp_path, *options):
    command = ["/usr/bin/python3", "-B", ROOT / "tests/soak" / name, "--build", BUILD, "--dir", tmp_path / "soak", *options]
    env = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=250, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_sixteen_at_once_killed_at_random_change_it_once(tmp_path):
    if not EXTENSION.exists():
        pytest.skip(f"{EXTENSION} was not built")
    said = soak("schema_race.py", tmp_path, "--rounds", 2)
    counts = re.search(r"^2 rounds, (\d+) runners, (\d+) killed", said, re.M)
    assert counts and int(counts[1]) >= 32 and int(counts[2]) >= 2, said


@pytest.mark.parametrize("leg", ["alone", "replicated"])
def test_a_table_is_backfilled_and_rebuilt_under_writes(tmp_path, leg):
    if not (BUILD / "tests/soak/soak_schema_writer").exists():
        pytest.skip("tests/soak was not built")
    small = ["--rows", 50000, "--rate", 200, "--quiet", 0.5, "--p99-ms", 60000, "--factor", 1000]  # times mean nothing here
    said = soak("schema_load.py", tmp_path, "--legs", leg, *small)
    assert re.search(r"(\d+) transactions and \d+ rows answered, all there", said), said
