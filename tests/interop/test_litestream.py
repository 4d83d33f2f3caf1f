"""Litestream's own programs read what we write, and we what they write.

Three of them: its reader as an SQLite extension (which fetches single pages by the index of each file,
and, with hydration, runs the restore pipeline), `litestream restore`, and `litestream replicate` as the
other writer. Wherever two restores are compared it is byte for byte.
"""
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import parts
from box import PATIENCE, add_rows, assert_same, page_size_of, rows_of

HERE = pathlib.Path(__file__).resolve().parent
LITESTREAM = parts.litestream()

# Every level within a second, so that each has several files.
LEVELS = ["-interval", "50ms", "-levels", "200ms,500ms,1s", "-snapshot", "1s", "-keep-level0", "500ms"]
NO_LEVELS = ["-levels", "1h,1h,1h", "-snapshot", "24h", "-keep-level0", "1h"]
THOUSAND_ROWS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
    INSERT INTO t(v) SELECT hex(randomblob(900)) FROM n"""
EMPTY_FILE = 100 + 6 + 1 + 8 + 16  # header, end of pages, index without entries, trailer


def environment(**more):
    return {k: v for k, v in os.environ.items() if not k.startswith(("LITESTREAM_", "AWS_"))} | more


def url(replica):
    return f"file://{replica}"


def vfs(box, *statements, replica=None, hydrate=None, write=False):
    """What the statements give through Litestream's VFS; `hydrate`: where its restore goes."""
    env = environment(
        LITESTREAM_REPLICA_URL=url(replica or box.replica), LITESTREAM_LOG_FILE=str(box.path / "vfs.log")
    )
    if hydrate:
        env |= {"LITESTREAM_HYDRATION_ENABLED": "true", "LITESTREAM_HYDRATION_PATH": str(hydrate)}
    if write:
        env |= {"LITESTREAM_WRITE_ENABLED": "true", "LITESTREAM_SYNC_INTERVAL": "1h"}
        env |= {"LITESTREAM_BUFFER_PATH": str(box.path / "vfs-buffer")}
    argv = [sys.executable, HERE / "vfs_client.py", LITESTREAM / "litestream-vfs.so", *statements]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return [[tuple(row) for row in rows] for rows in json.loads(done.stdout)]


def litestream_restore(box, out, *args, replica=None, program="litestream"):
    """Its words if it fails, else None."""
    argv = [LITESTREAM / program, "restore", *args, "-o", out, url(replica or box.replica)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    return None if done.returncode == 0 else done.stdout + done.stderr


def level0(box):
    return sorted((box.replica / "ltx/0").iterdir())


def tip(box, replica=None):
    return max(o["txid"] for o in box.list(to=replica))


@pytest.fixture
def agree(box):
    """agree(): our restore, Litestream's, and what its VFS shows are the same bytes and rows."""
    count = 0

    def check(source=None, replica=None, programs=("litestream",)):
        nonlocal count
        count += 1
        hydrated, restored = box.path / f"hydrated-{count}.db", box.path / f"litestream-{count}.db"
        ours = box.restore(to=replica)
        image = ours.read_bytes()
        if source:
            assert_same(source, ours)
        box.holdfast("verify", replica or box.replica)

        for program in programs:
            failed = litestream_restore(box, restored, replica=replica, program=program)
            assert not failed, f"{program}: {failed}"
            assert restored.read_bytes() == image
            restored.unlink()

        tables = [name for name in rows_of(ours) if name != "sqlite_schema"]
        queries = [f'SELECT * FROM "{name}"' for name in tables]
        txid, whole, *rows = vfs(
            box, "SELECT litestream_txid()", "PRAGMA integrity_check", *queries, replica=replica
        )
        assert txid == [(f"{tip(box, replica):016x}",)]
        assert_whole(whole, image)
        assert dict(zip(tables, rows)) == {name: rows_of(ours)[name] for name in tables}

        vfs(box, "SELECT count(*) FROM sqlite_schema", replica=replica, hydrate=hydrated)
        assert hydrated.read_bytes() == image
        return ours

    return check


def assert_whole(integrity, image):
    """The VFS takes the highest page that any file holds for the size, so after a shrink it finds pages
    beyond the end (in Litestream's own replicas too). Nothing else may be wrong."""
    lines = [line for (text,) in integrity for line in text.splitlines()]
    beyond = re.compile(r"Page (\d+) is never used")
    for line in lines:
        found = beyond.fullmatch(line)
        assert line in ("ok", "*** in database main ***") or (
            found and int(found.group(1)) > len(image) // page_size_of(image)
        ), line


def every_restore_point(box, replica=None, program="litestream"):
    """Litestream and we restore each TXID that is listed, and each time, to the same bytes."""
    theirs, ours = box.path / "theirs.db", box.path / "ours.db"
    objects = box.list(to=replica)
    times = sorted({o["time_ms"] + d for o in objects for d in (0, 1)})[1:-1]
    targets = [("-txid", f"{n:016x}") for n in sorted({o["txid"] for o in objects})]
    targets += [("-timestamp", rfc3339(ms)) for ms in times]
    compared = 0
    for target in targets:
        failed = litestream_restore(box, theirs, *target, replica=replica, program=program)
        done = box.holdfast("restore", *target, replica or box.replica, ours, code=None)
        assert (done.code == 0) == (not failed), f"{target}: {failed}, {done.err}"
        if done.code == 0:
            assert ours.read_bytes() == theirs.read_bytes(), target
            compared += 1
            ours.unlink()
            theirs.unlink()
    return compared


def rfc3339(ms):
    t = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


@pytest.mark.parametrize("encoding", ["blocks", "frames"])
def test_litestream_reads_a_replica_with_levels_a_growth_and_a_shrink(box, agree, encoding):
    programs = ["litestream", "litestream-frames"] if encoding == "frames" else ["litestream"]
    options = LEVELS + ["-frames"] * (encoding == "frames")
    c = box.new_app(rows=0)

    r = box.replicate(*options)
    for _ in range(3):
        add_rows(c, 4)
        box.wait_safe()
    r.stop()
    agree(box.db, programs=programs)

    r = box.replicate(*options)  # grows: a thousand pages in two transactions
    for _ in range(2):
        c.execute(THOUSAND_ROWS)
        box.wait_safe()
    for level in (1, 2, 3, 9):
        r.wait("compact", level=level, txid=tip(box))
    r.stop()
    agree(box.db, programs=programs)

    r = box.replicate(*options)  # nothing is written: the fence is the tip
    r.stop()
    assert level0(box)[-1].stat().st_size == EMPTY_FILE
    agree(box.db, programs=programs)

    r = box.replicate(*options)
    c.execute("DELETE FROM t WHERE id > 100")
    box.wait_safe()
    c.execute("VACUUM")
    box.wait_safe()
    agree(box.db, programs=programs)  # the shrink is in level 0 yet, or in level 1
    for level in (1, 2, 3, 9):
        r.wait("compact", level=level, txid=tip(box))
    agree(box.db, programs=programs)
    add_rows(c, 3)
    box.wait_safe()
    r.stop()
    agree(box.db, programs=programs)
    assert {o["level"] for o in box.list()} == {0, 1, 2, 3, 9}
    assert every_restore_point(box, program=programs[-1]) > 10


@pytest.mark.parametrize("page_size, encoding", [(512, "blocks"), (65536, "frames")])
def test_litestream_reads_level_0_alone_with_fences_within(box, agree, page_size, encoding):
    programs = ["litestream", "litestream-frames"] if encoding == "frames" else ["litestream"]
    options = NO_LEVELS + ["-frames"] * (encoding == "frames")
    c = box.new_app(rows=0, page_size=page_size)
    for size in (100, 3000000, 100):  # the second file's index is longer than what the VFS fetches first
        r = box.replicate(*options)
        c.execute("INSERT INTO t(v) VALUES (hex(randomblob(?)))", (size // 2,))
        box.wait_safe()
        add_rows(c, 2)
        box.wait_safe()
        r.stop()
    r = box.replicate(*options)
    c.execute("DELETE FROM t WHERE length(v) > 1000000")
    c.execute("VACUUM")
    box.wait_safe()
    r.stop()
    box.replicate(*options).stop()
    sizes = [f.stat().st_size for f in level0(box)]
    assert sizes.count(EMPTY_FILE) == 4 and sizes[-1] == EMPTY_FILE and sizes[0] != EMPTY_FILE
    assert {o["level"] for o in box.list()} == {0}
    agree(box.db, programs=programs)
    assert every_restore_point(box, program=programs[-1]) > 10
