"""What these tests need and the project does not hold: fetched once, into build-parts/.

A module asks for its parts when it is collected; if they are not to be had, it is skipped as a whole,
with the reason in one line.
"""
import fcntl
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


def fixed_sqlite():
    """A build of holdfast with a fixed SQLite inside, and beside it libsqlite3.so.0 for a writer. Compiling
    that takes a core 20 s, so it is done only where it was asked for."""
    if not IN_CI and not (PARTS / "sqlite/sqlite3.h").exists():
        pytest.skip("no fixed SQLite: scripts/fetch-sqlite build-parts/sqlite", allow_module_level=True)
    fetched("fetch-sqlite", PARTS / "sqlite")
    build = ROOT / "build-sqlite"
    with open(PARTS / "sqlite/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers collect this module at once
        argv = ["scripts/build", build, "-Dsqlite=build-parts/sqlite", "-Dtests=disabled"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return build
