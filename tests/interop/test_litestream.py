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
import shutil
import signal
import subprocess
import sys

import pytest

import parts
from box import (
    PATIENCE, add_rows, assert_same, contents, copy_replica, page_size_of, rows_of, set_time, until, url,
)

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
LITESTREAM = parts.litestream()

# Every level within a second, so that each has several files.
LEVELS = ["-interval", "50ms", "-levels", "200ms,500ms,1s", "-snapshot", "1s", "-keep-level0", "500ms"]
NO_LEVELS = ["-levels", "1h,1h,1h", "-snapshot", "24h", "-keep-level0", "1h"]
THOUSAND_ROWS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
    INSERT INTO t(v) SELECT hex(randomblob(900)) FROM n"""
ON_FILES = pytest.mark.file_only("the encoding has nothing to do with the place")
EMPTY_FILE = 100 + 6 + 1 + 8 + 16  # header, end of pages, index without entries, trailer


def environment(**more):
    """The servers' keys of scripts/test stay in it."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("LITESTREAM_", "AWS_")) or k in keys}
    return ours | more


def vfs(box, *statements, replica=None, hydrate=None, write=False):
    """What the statements give through Litestream's VFS; `hydrate`: where its restore goes."""
    env = environment(
        LITESTREAM_REPLICA_URL=url(replica or box.replica), LITESTREAM_LOG_FILE=str(box.path / "vfs.log")
    )
    if hydrate:
        env |= {"LITESTREAM_HYDRATION_ENABLED": "true", "LITESTREAM_HYDRATION_PATH": str(hydrate)}
        env |= {"LITESTREAM_LOG_FILE": f"{hydrate}.log", "LITESTREAM_LOG_LEVEL": "DEBUG"}
    if write:
        env |= {"LITESTREAM_WRITE_ENABLED": "true", "LITESTREAM_SYNC_INTERVAL": "1h"}
        env |= {"LITESTREAM_BUFFER_PATH": str(box.path / "vfs-buffer")}
    argv = [sys.executable, HERE / "vfs_client.py", LITESTREAM / "litestream-vfs.so", *statements]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return [[tuple(row) for row in rows] for rows in json.loads(done.stdout)]


def litestream_restore(box, out, *args, replica=None, program="litestream"):
    """Its words if it fails, else None."""
    argv = [LITESTREAM / program, "restore", *args, "-o", out, url(replica or box.replica)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=3 * PATIENCE)
    return None if done.returncode == 0 else done.stdout + done.stderr


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


def uploads(place):
    return place.client.list(place.bucket, f"{place.key}/0")[0]


def every_restore_point(box, replica=None, program="litestream"):
    """Litestream and we restore each TXID that is listed, and a few of the times and the milliseconds
    after them, to the same bytes."""
    theirs, ours = box.path / "theirs.db", box.path / "ours.db"
    objects = box.list(to=replica)
    times = sorted({o["time_ms"] + d for o in objects for d in (0, 1)})[1:-1]  # theirs has bounds
    if not isinstance(box.replica, pathlib.Path):  # there its bounds are of the uploads
        first, *_, last = sorted(when for _, _, when in uploads(box.replica))
        times = [ms for ms in times if first < rfc3339(ms) < last]
    times = times[:: (len(times) // 10) | 1]  # by an odd number: both kinds
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


@pytest.mark.file_only("half a minute; the levels are read from a bucket by the tests of both directions")
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
    assert box.files(0)[-1].stat().st_size == EMPTY_FILE
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


@pytest.mark.parametrize(
    "page_size, encoding", [(512, "blocks"), pytest.param(65536, "frames", marks=ON_FILES)]
)
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
    sizes = [f.stat().st_size for f in box.files(0)]
    assert sizes.count(EMPTY_FILE) == 4 and sizes[-1] == EMPTY_FILE and sizes[0] != EMPTY_FILE
    for file in box.files(9):
        file.unlink()
    assert {o["level"] for o in box.list()} == {0}
    agree(box.db, programs=programs)
    assert every_restore_point(box, program=programs[-1]) > 10


# ---- the other direction ----

CONFIGURATION = """
levels: [{{interval: 300ms}}, {{interval: 700ms}}, {{interval: 1500ms}}]
snapshot: {{interval: 1s, retention: 1h}}
l0-retention: 1h
dbs:
  - path: {db}
    monitor-interval: 20ms
    checkpoint-interval: 200ms
    min-checkpoint-page-count: 20
    replica: {{url: "{replica}", sync-interval: 20ms}}
"""


class Litestream:
    """`litestream replicate`, running."""

    def __init__(self, box):
        self.box = box
        configuration = box.path / "litestream.yml"
        configuration.write_text(CONFIGURATION.format(db=box.db, replica=url(box.replica)))
        argv = [LITESTREAM / "litestream", "replicate", "-config", configuration]
        self.log = open(box.path / "litestream.log", "a+")
        self.process = subprocess.Popen(argv, env=environment(), stdout=self.log, stderr=self.log)
        box.stack.callback(self.log.close)
        box.stack.callback(self.process.wait)
        box.stack.callback(self.process.kill)

    def wait_shipped(self, last_row):
        """Until a restore holds the row; tried again when there is another file."""
        out, seen = self.box.path / "shipped.db", None

        def shipped():
            nonlocal seen
            files = set(self.box.files(0))
            if files == seen:
                return False
            seen = files
            if not files or litestream_restore(self.box, out):
                seen = None  # perhaps a file went while it was read
                return False
            rows = rows_of(out).get("t", [])
            out.unlink()
            return rows and rows[-1] == last_row

        until(shipped, f"Litestream has shipped {last_row}")

    def wait_levels(self, *levels):
        until(lambda: {o["level"] for o in self.box.list()} >= set(levels), f"levels {levels}")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.log.seek(0)
        assert self.process.wait(PATIENCE) == 0, self.log.read()


def last_row(c):
    return c.execute("SELECT * FROM t ORDER BY id DESC LIMIT 1").fetchone()


def test_litestream_and_holdfast_take_over_from_each_other(box, agree):
    c = box.new_app()
    other = Litestream(box)
    for _ in range(3):
        add_rows(c, 20)
        other.wait_shipped(last_row(c))
    c.execute("DELETE FROM t WHERE id < 40")
    c.execute("VACUUM")
    add_rows(c, 1)
    other.wait_shipped(last_row(c))
    other.wait_levels(0, 1, 2, 9)
    other.stop()
    agree(box.db)
    assert every_restore_point(box) > 5

    words = box.refused(code=5)
    assert "written by another tool" in words and "-take-over" in words
    r = box.replicate("-take-over", *LEVELS)
    for _ in range(3):
        add_rows(c, 20)
        box.wait_safe()
    r.stop()
    agree(box.db)
    r = box.replicate(*LEVELS)  # it is ours now
    add_rows(c, 20)
    box.wait_safe()
    for level in (1, 2, 3, 9):
        r.wait("compact", level=level, txid=tip(box))
    r.stop()
    agree(box.db)
    before = tip(box)

    other = Litestream(box)
    add_rows(c, 20)
    other.wait_shipped(last_row(c))
    other.stop()
    assert tip(box) > before
    agree(box.db)
    assert every_restore_point(box) > 5
    assert "written by another tool" in box.refused(code=5)
    r = box.replicate("-take-over", *LEVELS)
    add_rows(c, 1)
    box.wait_safe()
    r.stop()
    agree(box.db)


def test_holdfast_restores_and_takes_over_what_the_vfs_wrote(box, agree):
    """One flush per connection: a second one in the same connection damages the VFS's own view."""
    vfs(box, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", write=True)
    vfs(box, THOUSAND_ROWS, write=True)
    vfs(box, "DELETE FROM t WHERE id % 3 = 0", write=True)
    vfs(box, "INSERT INTO t(v) VALUES ('last')", write=True)
    assert tip(box) == len(box.files(0)) >= 4
    agree()
    assert every_restore_point(box) >= 4

    box.restore().rename(box.db)
    box.sql("PRAGMA journal_mode=WAL")  # the VFS writes with a rollback journal
    assert "-take-over" in box.refused(code=5)
    r = box.replicate("-take-over", *LEVELS)
    c = box.app()
    add_rows(c, 3)
    box.wait_safe()
    c.execute("DELETE FROM t")
    c.execute("VACUUM")
    box.wait_safe()
    r.stop()
    agree(box.db)
    assert c.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert every_restore_point(box) > 4


@pytest.mark.parametrize("name", ["v05-worked-examples", "v05-real-l0", "v05-layered", "v05-legacy-frames"])
def test_what_litestream_wrote_once_restores_as_litestream_restores_it(box, agree, name):
    copy = box.path / "fixture"
    shutil.copytree(FIXTURES / name, copy)
    times = copy / "mtimes.tsv"
    for line in times.read_text().splitlines() if times.exists() else []:
        ns, path = line.split("\t")
        set_time(copy / path, int(ns))
    copy_replica(copy if name == "v05-worked-examples" else copy / "replica", box.replica)
    agree()
    assert every_restore_point(box) >= 2


# ---- the tests above can fail: Litestream does look ----


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_litestream_refuses_a_flipped_byte_in_what_we_wrote(box):
    c = box.new_app()
    r = box.replicate(*NO_LEVELS)
    add_rows(c, 1)
    box.wait_safe()
    r.stop()
    for file in box.files(9):
        file.unlink()
    out = box.path / "out.db"
    assert not litestream_restore(box, out)
    out.unlink()
    for file in box.files(0):
        good = file.read_bytes()
        for at in (80, 84, 91, 99):  # our chain in the reserved bytes: not read, but under the checksum
            flip(file, at)
            assert "checksum" in litestream_restore(box, out)
            file.write_bytes(good)
    before = contents(box.replica)
    assert not litestream_restore(box, out) and contents(box.replica) == before
