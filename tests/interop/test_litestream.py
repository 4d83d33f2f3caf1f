"""Litestream's own programs read what we write, and we what they write; each takes over from the other.

Its reader and writer as an SQLite extension (which fetches single pages by the index of each file, and, with
hydration, runs the restore pipeline), `litestream restore`, and `litestream replicate`, of two versions. Wherever
two restores are compared it is byte for byte. What is compared in which test is told to `cell` (matrix.py).
"""
import pathlib
import shutil

import pytest

import litestream
from box import add_rows, assert_same, contents, copy_replica, page_size_of, rows_of, set_time
from litestream import assert_shows, assert_whole, every_restore_point, rfc3339, some, times_of, vfs

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
VERSIONS = ["0.5.17", "0.5.15"]

# Every level within a second, so that each has several files.
LEVELS = ["-interval", "50ms", "-levels", "200ms,500ms,1s", "-snapshot", "1s", "-keep-level0", "500ms"]
NO_LEVELS = ["-levels", "1h,1h,1h", "-snapshot", "24h", "-keep-level0", "1h"]
THOUSAND_ROWS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
    INSERT INTO t(v) SELECT hex(randomblob(900)) FROM n"""
EMPTY_FILE = 100 + 6 + 1 + 8 + 16  # header, end of pages, index without entries, trailer


def frames_for(version):
    return ["-frames"] if version == "0.5.15" else []


def tip(box, replica=None):
    return max(o["txid"] for o in box.list(to=replica))


@pytest.fixture
def agree(box, cell):
    """agree(): our restore, Litestream's, and what its VFS shows are the same bytes and rows. With `way`, `cell`
    hears of it, under the name of each program or of `writer`."""
    count = 0

    def check(source=None, replica=None, programs=("0.5.17",), way=None, writer=None):
        nonlocal count
        count += 1
        hydrated, restored = box.path / f"hydrated-{count}.db", box.path / f"litestream-{count}.db"
        shown = box.path / f"shown-{count}.db"
        ours = box.restore(to=replica)
        image = ours.read_bytes()
        if source:
            assert_same(source, ours)
        box.holdfast("verify", replica or box.replica)

        for program in programs:
            failed = litestream.restore(box, restored, replica=replica, program=program)
            assert not failed, f"{program}: {failed}"
            assert restored.read_bytes() == image
            restored.unlink()

        tables = [name for name in rows_of(ours) if name != "sqlite_schema"]
        queries = [f'SELECT * FROM "{name}"' for name in tables]
        txid, whole, *rows = vfs(
            box, "SELECT litestream_txid()", "PRAGMA integrity_check", *queries, replica=replica, image=shown
        )
        assert txid == [(f"{tip(box, replica):016x}",)]
        assert_whole(whole, len(image) // page_size_of(image))
        if shown.exists():
            assert_shows(shown.read_bytes(), image, page_size_of(image))
        assert dict(zip(tables, rows)) == {name: rows_of(ours)[name] for name in tables}

        vfs(box, "SELECT count(*) FROM sqlite_schema", replica=replica, hydrate=hydrated)
        assert hydrated.read_bytes() == image
        if way:
            for name in [writer] if writer else programs:
                cell(name, way, 1)
        if way == "reads latest":
            cell("vfs", way, 1 + shown.exists())
        return ours

    return check


@pytest.fixture
def points(box, cell):
    """points("reads", "0.5.17"): every restore point, as the program and we restore it. How many there are."""

    def check(reading, name, program=None):
        by_txid, by_time = every_restore_point(box, program or name)
        cell(name, f"{reading} txid", by_txid)
        cell(name, f"{reading} time", by_time)
        return by_txid + by_time

    return check


def vfs_shows_what_we_restore_of_times(box, cell):
    shown, ours, compared = box.path / "shown.db", box.path / "ours.db", 0
    for then in map(rfc3339, some(times_of(box), 4)):
        if box.holdfast("restore", "-timestamp", then, box.replica, ours, code=None).code == 0:
            vfs(box, f"SELECT litestream_set_time('{then}')", image=shown)
            image = ours.read_bytes()
            ours.unlink()
            if shown.exists():
                assert_shows(shown.read_bytes(), image, page_size_of(image))
                shown.unlink()
                compared += 1
    cell("vfs", "reads time", compared)


@pytest.mark.file_only("half a minute; the levels are read from a bucket by the tests of both directions")
@pytest.mark.parametrize("version", VERSIONS)
def test_litestream_reads_a_replica_with_levels_a_growth_and_a_shrink(box, agree, points, version):
    programs = ["0.5.17", "0.5.15"] if version == "0.5.15" else ["0.5.17"]
    options = LEVELS + frames_for(version)
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
    agree(box.db, programs=programs, way="reads latest")
    assert {o["level"] for o in box.list()} == {0, 1, 2, 3, 9}
    assert points("reads", version) > 10


@pytest.mark.parametrize("page_size, version", [(512, "0.5.17"), (65536, "0.5.15")])
def test_litestream_reads_level_0_alone_with_fences_within(box, agree, points, cell, page_size, version):
    programs = ["0.5.17", "0.5.15"] if version == "0.5.15" else ["0.5.17"]
    options = NO_LEVELS + frames_for(version)
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
    agree(box.db, programs=programs, way="reads latest")
    assert points("reads", version) >= 9  # two rows of one wait may share a shipment
    vfs_shows_what_we_restore_of_times(box, cell)


# ---- the other direction ----


def last_row(c):
    return c.execute("SELECT * FROM t ORDER BY id DESC LIMIT 1").fetchone()


@pytest.mark.parametrize("version", VERSIONS)
def test_litestream_and_holdfast_take_over_from_each_other(box, agree, points, version):
    options = LEVELS + frames_for(version)
    c = box.new_app()
    other = litestream.Daemon(box, version)
    for _ in range(3):
        add_rows(c, 20)
        other.wait_shipped(last_row(c))
    c.execute("DELETE FROM t WHERE id < 40")
    c.execute("VACUUM")
    add_rows(c, 1)
    other.wait_shipped(last_row(c))
    other.wait_levels(0, 1, 2, 9)
    other.stop()
    agree(box.db, programs=[version], way="read latest")
    assert points("read", version) > 5

    words = box.refused(code=5)
    assert "written by another tool" in words and "-take-over" in words
    r = box.replicate("-take-over", *options)
    for _ in range(3):
        add_rows(c, 20)
        box.wait_safe()
    r.stop()
    agree(box.db, programs=[version], way="we go on")
    r = box.replicate(*options)  # it is ours now
    add_rows(c, 20)
    box.wait_safe()
    for level in (1, 2, 3, 9):
        r.wait("compact", level=level, txid=tip(box))
    r.stop()
    agree(box.db, programs=[version], way="we go on")
    before = tip(box)

    other = litestream.Daemon(box, version)
    add_rows(c, 20)
    other.wait_shipped(last_row(c))
    other.stop()
    assert tip(box) > before
    agree(box.db, programs=[version], way="it goes on")
    assert points("reads", version) > 5
    assert "written by another tool" in box.refused(code=5)
    r = box.replicate("-take-over", *options)
    add_rows(c, 1)
    box.wait_safe()
    r.stop()
    agree(box.db, programs=[version], way="we go on")


def test_holdfast_and_the_vfs_take_over_from_each_other(box, agree, points):
    """One flush per connection: a second one in the same connection damages the VFS's own view. And none after
    the database has shrunk: it takes it for as large as it ever was, and writes that into its header."""
    vfs(box, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", write=True)
    vfs(box, THOUSAND_ROWS, write=True)
    vfs(box, "DELETE FROM t WHERE id % 3 = 0", write=True)
    vfs(box, "INSERT INTO t(v) VALUES ('last')", write=True)
    assert tip(box) == len(box.files(0)) >= 4
    agree(way="read latest", writer="vfs")
    assert points("read", "vfs", "0.5.17") >= 4

    def taken_over(db):
        """What it wrote, in `db`, and replicated by us; the run, and the application."""
        box.restore().rename(db)
        box.sql("PRAGMA journal_mode=WAL", db=db)  # the VFS writes with a rollback journal
        assert "-take-over" in box.refused(code=5, db=db)
        return box.replicate("-take-over", *LEVELS, db=db), box.app(db)

    r, c = taken_over(box.db)
    add_rows(c, 3)
    box.wait_safe()
    r.stop()
    agree(box.db, way="we go on", writer="vfs")
    c.close()
    before = tip(box)

    vfs(box, "INSERT INTO t(id, v) VALUES (100000, 'of the VFS')", write=True)
    assert tip(box) == before + 1
    restored = agree(way="it goes on", writer="vfs")
    assert rows_of(restored)["t"][-1] == (100000, "of the VFS")

    again = box.path / "again.db"
    r, c = taken_over(again)
    c.execute("DELETE FROM t")
    c.execute("VACUUM")
    box.wait_safe(db=again)
    r.stop()
    agree(again, way="we go on", writer="vfs")
    assert c.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert points("read", "vfs", "0.5.17") > 4


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
    assert sum(every_restore_point(box)) >= 2


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
    assert not litestream.restore(box, out)
    out.unlink()
    for file in box.files(0):
        good = file.read_bytes()
        for at in (80, 84, 91, 99):  # our chain in the reserved bytes: not read, but under the checksum
            flip(file, at)
            assert "checksum" in litestream.restore(box, out)
            file.write_bytes(good)
    before = contents(box.replica)
    assert not litestream.restore(box, out) and contents(box.replica) == before
