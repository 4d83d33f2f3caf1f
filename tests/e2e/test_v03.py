"""What Litestream 0.3 left behind: found by looking, restored, and understood by the other commands."""
import hashlib
import os
import pathlib
import shutil
import sqlite3

import pytest

from box import copy_replica, shown

BASIC = pathlib.Path(__file__).resolve().parents[1] / "fixtures/v03-basic"
GENERATION = "06e797ef8680f649"
ROWS = [line.split("\t") for line in (BASIC / "pitr-by-litestream-0.3.13.tsv").read_text().splitlines()]
LATEST = ROWS[-1][2]


def fixture(to, tmp):
    """The replica, with its times."""
    shutil.copytree(BASIC / "replica", tmp / "v03")
    for line in (BASIC / "mtimes.tsv").read_text().splitlines():
        ns, name = line.split("\t")
        file = tmp / "v03" / pathlib.Path(name).relative_to("replica")
        os.utime(file, ns=(int(ns), int(ns)))
    copy_replica(tmp / "v03", to)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def v03(box):
    fixture(box.replica, box.path)
    return box


def test_the_latest_state_is_what_litestream_restored(v03):
    out = v03.path / "out.db"
    said = v03.holdfast("restore", v03.replica, out).out
    assert digest(out) == LATEST
    assert f"WAL index 00000004 of Litestream 0.3's generation {GENERATION}" in said
    out.unlink()
    done = v03.holdfast("restore", "-json", "-if-replica-exists", v03.replica, out).json
    assert done["restored"] is True and done["format"] == "v0.3" and "txid" not in done
    assert (done["generation"], done["index"]) == (GENERATION, 4)
    with sqlite3.connect(out) as c:
        assert c.execute("SELECT count(*), sum(id) FROM t").fetchone() == (400, 80200)
        assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.file_only("when a bucket's objects were put cannot be set")
def test_every_time_gives_what_litestream_restored_then(box):
    fixture(box.replica, box.path)
    for target, _, digest_then in ROWS[1:-3]:
        assert digest(box.restore("-timestamp", target)) == digest_then, target
    assert ROWS[0][1] == "error"
    said = box.restore("-timestamp", ROWS[0][0], code=3).err
    assert "no backup for that time: the first is of 2026-11-22T21:31:19.008Z" in said
    for target, words in ROWS[-3:-1]:  # after all objects: Litestream refuses, we give the latest
        assert words == "error" and digest(box.restore("-timestamp", target)) == LATEST


def test_other_commands_say_what_it_is(v03):
    db = v03.restore()
    for argv in (
        ["list", v03.replica],
        ["verify", v03.replica],
        ["verify", "-source", db, v03.replica],
        ["restore", "-txid", 3, v03.replica, v03.path / "o"],
        ["restore", "-fast-forward", v03.replica, db],
    ):
        said = v03.holdfast(*argv, code=2).err
        assert shown(v03.replica) in said and "a replica of Litestream 0.3 only" in said
    assert digest(db) == LATEST


def test_replication_begins_beside_it_and_is_what_is_restored_then(v03):
    out = v03.path / "app.db"
    v03.holdfast("restore", v03.replica, out)
    app = v03.app()
    r = v03.replicate()
    app.execute("INSERT INTO t(id) VALUES (1001)")
    v03.wait_safe()
    r.stop()
    restored = v03.path / "again.db"
    done = v03.holdfast("restore", "-json", v03.replica, restored).json
    assert done["format"] == "ltx" and done["txid"] >= 1
    with sqlite3.connect(restored) as c:
        assert c.execute("SELECT count(*) FROM t").fetchone() == (401,)


def test_a_lost_segment_is_named(v03):
    lost = v03.replica / "generations" / GENERATION / "wal/00000003_00002050.wal.lz4"
    lost.unlink()
    said = v03.restore(code=4).err
    assert "00000003_000060b0.wal.lz4: the log before it ends at byte 8272" in said
    assert not list(v03.path.glob("restored*"))
