"""An object store that fails in every known way: a few cells of tests/proof/store_faults.py, of which make proof has all."""
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT

BUILD = pathlib.Path(COMMAND).parent


def test_a_store_that_fails_loses_nothing_and_is_found_out(tmp_path):
    if not (BUILD / "tests/soak/soak_acknowledged").exists():
        pytest.skip("tests/soak was not built")
    command = ["/usr/bin/python3", "-B", ROOT / "tests/proof/store_faults.py", "--build", BUILD, "--count", "16"]
    done = subprocess.run(list(map(str, [*command, "--jobs", "4"])), capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-1]))
    assert said["ran"] == said["of"] == "16" and said["found"] == "0", done.stdout
    assert int(said["faults_fired"]) >= 16 and int(said["acked"]) > 16 and int(said["restores"]) > 16, done.stdout
