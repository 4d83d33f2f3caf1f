"""What these tests need and the project does not hold: fetched once, into build-parts/.

A module asks for its parts when it is collected; if they are not to be had, it is skipped as a whole,
with the reason in one line.
"""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ROOT / "build-parts"
IN_CI = os.environ.get("CI") == "true"


def fetched(script, directory):
    done = subprocess.run(
        [ROOT / "scripts" / script, directory], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        pytest.skip(done.stderr.strip() or f"{script} failed", allow_module_level=True)
    return directory


def litestream():
    """The directory of Litestream's programs."""
    return fetched("fetch-litestream", PARTS / "litestream")
