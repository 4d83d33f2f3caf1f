"""A replica that somebody has damaged: each object that is missing, cut, flipped, renamed, swapped or
foreign is found and named, by restore (also with a time target) and by verify. Never older or wrong
data without a word; nothing is left at the output."""
import re

import pytest

from box import Box, add_rows, assert_same, contents, copy_replica, set_time, time_of


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A replica with slots 1 to 6, of which none is compacted, and the restored states by TXID."""
    b = Box(tmp_path_factory.mktemp("original"))
    with b.stack:
        app = b.new_app(0)
        app.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
                    " INSERT INTO t SELECT i, hex(randomblob(1000)) FROM n")
        r = b.replicate("-levels", "1h,1h,1h")
        b.wait_safe()
        for n in range(4):  # each on pages of its own, so that a restore needs each slot
            app.execute(f"UPDATE t SET v = hex(randomblob(1000)) WHERE id BETWEEN {n * 20} AND {n * 20 + 3}")
            b.wait_safe()
        r.stop()
        b.slots = b.files(0)
        assert [s.name[:16] for s in b.slots] == [f"{n:016x}" for n in range(1, 7)]
        b.times = [f["time"] for f in b.list()]
        b.states = {n: b.restore("-txid", n).read_bytes() for n in range(2, 7)}
        yield b


@pytest.fixture
def damaged(box, original):
    """A copy to damage; slot(n) is a path in it."""
    copy_replica(original.replica, box.replica)
    box.slot = lambda n: box.level(0) / f"{n:016x}-{n:016x}.ltx"
    box.original = original
    return box


def flip(path, offset):
    image = bytearray(path.read_bytes())
    image[offset] ^= 0x10
    path.write_bytes(image)


def cut(path, size):
    """`size` may count from the end."""
    path.write_bytes(path.read_bytes()[:size])


def put_directory(path):
    path.unlink()
    path.mkdir()
    (path / "below").write_text("x")


def keep_time(change):
    """Damage that leaves the file's time, as a failing disk does."""

    def changed(box):
        times = {p: time_of(p) for p in box.replica.rglob("*.ltx")}
        change(box)
        for p, t in times.items():
            if p.is_file():
                set_time(p, t)

    return changed


def swap(box):
    a, b = box.slot(3).read_bytes(), box.slot(4).read_bytes()
    box.slot(3).write_bytes(b)
    box.slot(4).write_bytes(a)


def foreign(box):
    """Slot 4 of another database's replica."""
    other = Box(box.path / "other")
    with other.stack:
        app = other.new_app(40)
        r = other.replicate("-levels", "1h,1h,1h")
        other.wait_safe()
        for _ in range(2):
            app.execute("UPDATE t SET v = 'foreign ' || hex(randomblob(40))")
            other.wait_safe()
        r.stop()
    box.slot(4).write_bytes(other.files(0)[3].read_bytes())


def older(box):
    """Slot 4 holds slot 3's object, renumbered by nobody."""
    box.slot(4).write_bytes(box.slot(3).read_bytes())


DAMAGE = {
    "missing": lambda box: box.slot(4).unlink(),
    "empty": lambda box: cut(box.slot(4), 0),
    "header only": lambda box: cut(box.slot(4), 100),
    "cut by a byte": lambda box: cut(box.slot(4), -1),
    "cut in half": lambda box: cut(box.slot(4), box.slot(4).stat().st_size // 2),
    "longer": lambda box: box.slot(4).write_bytes(box.slot(4).read_bytes() + b"\0"),
    "zeros": lambda box: box.slot(4).write_bytes(bytes(box.slot(4).stat().st_size)),
    "magic flipped": lambda box: flip(box.slot(4), 1),
    "page size flipped": lambda box: flip(box.slot(4), 10),
    "commit flipped": lambda box: flip(box.slot(4), 15),
    "txid flipped": lambda box: flip(box.slot(4), 23),
    "time flipped": lambda box: flip(box.slot(4), 36),
    "sum flipped": lambda box: flip(box.slot(4), 88),
    "page flipped": lambda box: flip(box.slot(4), 400),
    "index flipped": lambda box: flip(box.slot(4), -26),
    "index size flipped": lambda box: flip(box.slot(4), -18),
    "checksum flipped": lambda box: flip(box.slot(4), -1),
    "renamed": lambda box: box.slot(4).rename(box.slot(9)),
    "swapped": swap,
    "foreign": foreign,
    "older": older,
    "directory": lambda box: put_directory(box.slot(4)),
}


# What a restore need not look at: it gives exactly the right database, proven by its sum, or says so.
UNSEEN = {"commit flipped", "time flipped", "sum flipped", "checksum flipped"}


def names_it(kind, said):
    """The object by its name, or the hole by the TXIDs around it."""
    if kind in ("missing", "renamed", "directory"):
        return re.search(r"hole between TXID 3 and [59]|0{15}4-0{15}4", said)
    return re.search(r"0{15}[34]-0{15}[34]\.ltx", said)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage(damaged, kind):
    box = damaged
    keep_time(DAMAGE[kind])(box)
    before = contents(box.replica)
    for txid, target in ((6, []), (6, ["-timestamp", "2100-01-01T00:00:00Z"]), (5, ["-txid", "5"]), (4, ["-txid", "4"])):
        out = box.path / "out.db"
        done = box.holdfast("restore", *target, box.replica, out, code=None)
        if kind in UNSEEN and done.code == 0:
            assert_same(box.original.states[txid], out)
            out.unlink()
        elif txid > 4 or kind not in ("missing", "renamed", "directory"):
            assert done.code == 4 and names_it(kind, done.err), done.err
        else:
            assert done.code in (3, 4), done.err
        assert not list(box.path.glob("out.db*"))
    said = box.holdfast("verify", box.replica, code=4).err
    assert names_it(kind, said), said
    done = box.holdfast("verify", "-json", box.replica, code=4)
    assert done.json["ok"] is False and names_it(kind, done.json["error"])
    assert contents(box.replica) == before
    if kind not in ("swapped",):  # what lies before the damage can still be had
        assert_same(box.original.states[3], box.restore("-txid", 3))


@pytest.mark.parametrize("kind", ["missing", "page flipped", "cut in half"])
def test_damage_stops_replicate_or_is_not_made_worse(damaged, kind):
    """A start on a damaged replica refuses, or goes on and verify still finds it: never a repaired look."""
    box = damaged
    DAMAGE[kind](box)
    box.db.write_bytes(box.original.states[6])
    r = box.start("-take-over", "-drain", "0s")
    if kind == "page flipped":
        r.wait("destination.ready")
        r.stop()
    else:
        assert names_it(kind, r.end(4))
    box.holdfast("verify", box.replica, code=4)


@pytest.mark.file_only("what is found is found in the bytes, wherever they come from")
def test_every_flipped_byte_is_found(damaged):
    """One bit anywhere in a slot: restore says so, or gives exactly the right database."""
    box = damaged
    slot, good = box.slot(4), box.slot(4).read_bytes()
    wrong = []
    step = max(1, len(good) // 60)
    for offset in [*range(0, 100, 7), *range(100, len(good), step), *range(len(good) - 30, len(good), 3)]:
        image = bytearray(good)
        image[offset] ^= 0x10
        slot.write_bytes(image)
        out = box.path / "out.db"
        done = box.holdfast("restore", box.replica, out, code=None)
        if done.code == 0 and out.read_bytes() != box.original.states[6] or done.code not in (0, 4):
            wrong.append((offset, done.code, done.err))
        if out.exists():
            out.unlink()
    assert not wrong


def test_names_that_are_not_ours_are_ignored(damaged):
    box = damaged
    zero = box.level(0)
    (zero / "notes.txt").write_text("x")
    (zero / f"{7:016x}-{7:016x}.ltx.tmp").write_text("x")
    (zero / f"{7:016X}-{7:016X}.LTX").write_text("x")
    (zero / "7-7.ltx").write_text("x")
    for name in ("ltx/junk", "lost+found"):
        (box.replica / name).mkdir(parents=True)
        (box.replica / name / "x").write_text("x")
    assert_same(box.original.states[6], box.restore())
    box.holdfast("verify", box.replica)


def test_slot_beyond_a_hole_is_not_taken_for_the_end(damaged):
    """Two are missing: the end is neither 3 without a word nor 6."""
    box = damaged
    box.slot(4).unlink()
    box.slot(5).unlink()
    assert "hole between TXID 3 and 6" in box.restore(code=4).err
    assert "hole between TXID 3 and 6" in box.holdfast("list", box.replica, code=None).err + box.restore(code=4).err


def test_first_slot_is_missing(damaged):
    box = damaged
    box.slot(1).unlink()
    for f in box.files(9):
        f.unlink()
    assert "TXID 1" in box.restore(code=4).err
    assert "TXID 1" in box.holdfast("verify", box.replica, code=4).err


def test_damaged_level_is_named(box):
    """A compacted object that restore needs."""
    app = box.new_app(40)
    r = box.replicate("-levels", "200ms,1h,1h")
    r.wait("compact", level=9)
    add_rows(app, 5)
    txid = box.wait_safe()["txid"]
    r.wait("compact", level=1, txid=txid)
    r.stop()
    level1 = box.files(1)[-1]
    flip(level1, 300)
    said = box.restore(code=4).err
    assert str(level1.relative_to(box.replica)) in said
    assert str(level1.relative_to(box.replica)) in box.holdfast("verify", box.replica, code=4).err


def test_source_that_differs_is_found(box):
    """verify -source: a page of the database that changed behind SQLite's back."""
    box.new_app(200).close()
    r = box.replicate()
    r.wait("ship")
    r.stop()
    box.holdfast("verify", "-source", box.db, box.replica)
    image = bytearray(box.db.read_bytes())
    image[4096 * 3 + 2000] ^= 1
    box.db.write_bytes(image)
    done = box.holdfast("verify", "-source", box.db, box.replica, code=None)
    assert done.code in (4, 5) and str(box.db) in done.err
