"""A replica that Litestream 0.3.13 makes of a live database: what it restores from it, we do too."""
import datetime
import subprocess

import pytest

import parts
from box import PATIENCE, until

LITESTREAM = parts.litestream() / "litestream-0.3"


def litestream_restore(box, out, *args):
    argv = [LITESTREAM, "restore", *args, "-o", out, f"file://{box.replica}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def segments(box):
    return sorted(box.replica.glob("generations/*/wal/*.wal.lz4"))


def millisecond(file):
    return file.stat().st_mtime_ns // 1_000_000


def at(ms):
    then = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return f"{then:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


@pytest.fixture
def live(box):
    """Grows, shrinks, is vacuumed; over several WALs, with several snapshots."""
    app = box.new_app(10)
    config = box.path / "litestream.yml"
    config.write_text(
        f"dbs:\n  - path: {box.db}\n    monitor-interval: 20ms\n    min-checkpoint-page-count: 60\n"
        f"    replicas:\n      - path: {box.replica}\n        sync-interval: 20ms\n"
        "        snapshot-interval: 2s\n        retention: 1h\n"
    )
    log = open(box.path / "litestream.log", "w")
    process = subprocess.Popen([LITESTREAM, "replicate", "-config", config], stdout=log, stderr=log)
    box.stack.callback(process.kill)
    until(lambda: segments(box), "the first segment")
    steps = [
        "INSERT INTO t(v) SELECT hex(randomblob(2000)) FROM t LIMIT 40",
        "UPDATE t SET v = hex(randomblob(700)) WHERE id % 3 = 0",
        "INSERT INTO t(v) SELECT v FROM t LIMIT 60",
        "DELETE FROM t WHERE id % 2 = 1 AND id > 20",
        "VACUUM",
    ]
    for i in range(25):
        known = len(segments(box))
        app.execute(steps[i % len(steps)])
        until(lambda: len(segments(box)) > known, "another segment")
    until(lambda: len(list(box.replica.glob("generations/*/snapshots/*"))) > 1, "a second snapshot")
    process.terminate()
    assert process.wait(PATIENCE) == 0
    return box


@pytest.mark.file_only("its writer is given a directory, whose times it goes by")
def test_every_state_is_the_one_that_litestream_restores(live):
    latest = litestream_restore(live, live.path / "theirs")
    assert live.restore().read_bytes() == latest
    indexes = {s.name[:8] for s in segments(live)}
    assert len(indexes) > 2
    sizes = set()
    came = {millisecond(file) for file in live.replica.rglob("*.lz4")}
    for n, segment in enumerate(segments(live)):
        if millisecond(segment) + 1 in came:
            continue  # of what comes within the millisecond asked for, we take all
        then = at(millisecond(segment) + 1)
        theirs = litestream_restore(live, live.path / f"theirs-{n}", "-timestamp", then)
        assert live.restore("-timestamp", then).read_bytes() == theirs, (then, segment.name)
        sizes.add(len(theirs))
    assert len(sizes) > 3  # it did grow and shrink
