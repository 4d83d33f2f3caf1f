"""A replica that Litestream 0.3.13 makes of a live database: what it restores from it, we do too. Each begins
beside what the other left, and the newer of the two is restored."""
import pathlib
import subprocess

import pytest

import litestream
from box import add_rows, assert_same, contents, until
from litestream import SECONDS, millisecond_of, rfc3339, uploads

REPLICA_OF_A_DIRECTORY = "path: {}"
REPLICA_OF_A_BUCKET = """type: s3
        bucket: {0.bucket}
        path: {0.key}
        endpoint: {0.client.endpoint}
        region: {0.client.region}
        force-path-style: true"""
CONFIGURATION = """
dbs:
  - path: {db}
    monitor-interval: 20ms
    min-checkpoint-page-count: 60
    replicas:
      - {replica}
        sync-interval: 20ms
        snapshot-interval: 2s
        retention: 1h
"""
STEPS = [
    "INSERT INTO t(v) SELECT hex(randomblob(2000)) FROM t LIMIT 40",
    "UPDATE t SET v = hex(randomblob(700)) WHERE id % 3 = 0",
    "INSERT INTO t(v) SELECT v FROM t LIMIT 60",
    "DELETE FROM t WHERE id % 2 = 1 AND id > 20",
    "VACUUM",
]


def restore(box, *args):
    """The bytes."""
    out = box.path / "theirs.db"
    argv = [litestream.LITESTREAM / "litestream-0.3", "restore", "-config", box.path / "litestream.yml", *args]
    done = subprocess.run(
        [*argv, "-o", out, box.db], env=litestream.environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    image = out.read_bytes()
    out.unlink()
    return image


def segments(box):
    return sorted(box.replica.glob("generations/*/wal/*.wal.lz4"))


def arrivals(box):
    """When each of its objects came, in ms; in a bucket the store says so, with the list."""
    if isinstance(box.replica, pathlib.Path):
        return {file: file.stat().st_mtime_ns // 1_000_000 for file in box.replica.rglob("*.lz4")}
    came = [u for u in uploads(box.replica) if u[0].endswith(".lz4")]
    return {box.replica / u[0].removeprefix(f"{box.replica.key}/"): millisecond_of(u) for u in came}


def live(box, app, rounds):
    """Grows, shrinks, is vacuumed; over several WALs, with several snapshots."""
    kind = REPLICA_OF_A_DIRECTORY if isinstance(box.replica, pathlib.Path) else REPLICA_OF_A_BUCKET
    configuration = CONFIGURATION.format(db=box.db, replica=kind.format(box.replica))
    daemon = litestream.Daemon(box, "0.3.13", configuration)
    until(lambda: segments(box), "the first segment", SECONDS)
    for i in range(rounds):
        known = len(segments(box))
        app.execute(STEPS[i % len(STEPS)])
        until(lambda: len(segments(box)) > known, "another segment", SECONDS)
    if rounds > len(STEPS):
        until(lambda: len(list(box.replica.glob("generations/*/snapshots/*"))) > 1, "a second snapshot", SECONDS)
    daemon.stop()


def test_every_state_is_the_one_that_litestream_restores(box, cell):
    app = box.new_app(10)
    live(box, app, 25)
    assert box.restore().read_bytes() == restore(box)
    cell("0.3.13", "read latest", 1)
    indexes = {s.name[:8] for s in segments(box)}
    assert len(indexes) > 2
    came = arrivals(box)
    sizes = set()
    for segment in segments(box):
        if came[segment] + 1 in came.values() or came[segment] == max(came.values()):
            continue  # of what comes within the millisecond asked for, we take all; it refuses a time after its last
        then = rfc3339(came[segment] + 1)
        theirs = restore(box, "-timestamp", then)
        assert box.restore("-timestamp", then).read_bytes() == theirs, (then, segment.name)
        cell("0.3.13", "read time", 1)
        sizes.add(len(theirs))
    assert len(sizes) > 3  # it did grow and shrink

    r = box.replicate()  # beside it
    add_rows(app, 3)
    box.wait_safe()
    r.stop()
    out = box.path / "out.db"
    assert box.holdfast("restore", "-json", box.replica, out).json["format"] == "ltx"
    assert_same(box.db, out)
    cell("0.3.13", "we go on", 1)


def test_what_litestream_03_begins_beside_ours_is_restored_as_the_newer(box, cell):
    app = box.new_app(10)
    r = box.replicate()
    add_rows(app, 3)
    box.wait_safe()
    r.stop()
    ours = contents(box.replica)
    live(box, app, 3)
    assert ours.items() <= contents(box.replica).items()
    out = box.path / "out.db"
    assert box.holdfast("restore", "-json", box.replica, out).json["format"] == "v0.3"
    assert out.read_bytes() == restore(box)
    assert_same(box.db, out)
    cell("0.3.13", "it goes on", 1)
    assert out.read_bytes() != box.restore("-txid", 1).read_bytes()  # an older one of ours is there yet


@pytest.mark.file_only("about its configuration")
def test_litestream_03_does_not_read_ours(box):
    """If it did, a cell of the table would be missing."""
    app = box.new_app(1)
    r = box.replicate()
    add_rows(app, 1)
    box.wait_safe()
    r.stop()
    (box.path / "litestream.yml").write_text(CONFIGURATION.format(db=box.db, replica=f"path: {box.replica}"))
    with pytest.raises(AssertionError, match="no matching backups found"):
        restore(box)
