"""Litestream's own programs, as the tests start them, and their replicas beside ours."""
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import parts
from box import PATIENCE, remove, rows_of, until, url

HERE = pathlib.Path(__file__).resolve().parent
LITESTREAM = parts.litestream()
SECONDS = 3 * PATIENCE  # for another program, on a busy machine
COMMANDS = {"0.5.17": "litestream", "0.5.15": "litestream-frames", "0.3.13": "litestream-0.3"}

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


def environment(**more):
    """The servers' keys of scripts/test stay in it."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("LITESTREAM_", "AWS_")) or k in keys}
    return ours | more


def vfs(box, *statements, replica=None, hydrate=None, image="-", write=False):
    """What the statements give through Litestream's VFS; `hydrate`: where its restore goes; `image`: where
    the pages go that it shows."""
    env = environment(
        LITESTREAM_REPLICA_URL=url(replica or box.replica), LITESTREAM_LOG_FILE=str(box.path / "vfs.log")
    )
    if hydrate:
        env |= {"LITESTREAM_HYDRATION_ENABLED": "true", "LITESTREAM_HYDRATION_PATH": str(hydrate)}
        env |= {"LITESTREAM_LOG_FILE": f"{hydrate}.log", "LITESTREAM_LOG_LEVEL": "DEBUG"}
    if write:
        env |= {"LITESTREAM_WRITE_ENABLED": "true", "LITESTREAM_SYNC_INTERVAL": "1h"}
        env |= {"LITESTREAM_BUFFER_PATH": str(box.path / "vfs-buffer")}
    argv = [sys.executable, HERE / "vfs_client.py", LITESTREAM / "litestream-vfs.so", image, *statements]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return [[tuple(row) for row in rows] for rows in json.loads(done.stdout)]


def restore(box, out, *args, replica=None, program="0.5.17"):
    """Its words if it fails, else None."""
    argv = [LITESTREAM / COMMANDS[program], "restore", *args, "-o", out, url(replica or box.replica)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    return None if done.returncode == 0 else done.stdout + done.stderr


class Daemon:
    """`litestream replicate`, running."""

    def __init__(self, box, program, configuration=None):
        self.box, self.program = box, program
        path = box.path / "litestream.yml"
        path.write_text(configuration or CONFIGURATION.format(db=box.db, replica=url(box.replica)))
        argv = [LITESTREAM / COMMANDS[program], "replicate", "-config", path]
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
            if not files or restore(self.box, out, program=self.program):
                seen = None  # perhaps a file went while it was read
                return False
            rows = rows_of(out).get("t", [])
            out.unlink()
            return rows and rows[-1] == last_row

        until(shipped, f"Litestream has shipped {last_row}", SECONDS)

    def wait_levels(self, *levels):
        until(lambda: {o["level"] for o in self.box.list()} >= set(levels), f"levels {levels}", SECONDS)

    def stop(self):
        """0.3.13 ends with 1 where the signal meets a checkpoint or an upload of its own."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(SECONDS)
        self.log.seek(0)
        said = self.log.read()
        assert code == 0 or (self.program, code) == ("0.3.13", 1) and "error closing db" in said, said


# ---- times ----


def rfc3339(ms):
    t = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def uploads(place):
    """[(key, size, time)] of a bucket."""
    return place.client.list(place.bucket, f"{place.key}/")[0]


def millisecond_of(upload):
    return round(datetime.datetime.fromisoformat(upload[2].replace("Z", "+00:00")).timestamp() * 1000)


def times_of(box, replica=None):
    """The times of objects and the milliseconds after them, in ms: those that Litestream takes."""
    times = sorted({o["time_ms"] + d for o in box.list(to=replica) for d in (0, 1)})[1:-1]  # theirs has bounds
    if not isinstance(box.replica, pathlib.Path):  # there its bounds are of the uploads
        came = [u for u in uploads(box.replica) if u[0].startswith(f"{box.replica.key}/0")]
        first, *_, last = sorted(when for _, _, when in came)
        times = [ms for ms in times if first < rfc3339(ms) < last]
    return times


def some(values, most):
    """Spread over all of them, the last among them; of two that take turns, both."""
    return values[::-1][:: (len(values) // most) | 1][::-1]


def compare(box, targets, program="0.5.17", replica=None):
    """Litestream and we restore each (option, value) to the same bytes, or neither of us does. How many we did."""
    theirs, ours = box.path / "theirs.db", box.path / "ours.db"
    compared = 0
    for target in targets:
        failed = restore(box, theirs, *target, replica=replica, program=program)
        done = box.holdfast("restore", *target, replica or box.replica, ours, code=None)
        assert (done.code == 0) == (not failed), f"{target}: {failed}, {done.err}"
        if done.code == 0:
            assert ours.read_bytes() == theirs.read_bytes(), target
            compared += 1
            remove(ours, theirs)
    return compared


def every_restore_point(box, program="0.5.17"):
    """Of the TXIDs that are listed, and of the times and the milliseconds after them, some: how many of both."""
    txids = some(sorted({o["txid"] for o in box.list()}), 7)
    by_txid = compare(box, [("-txid", f"{n:016x}") for n in txids], program)
    by_time = compare(box, [("-timestamp", rfc3339(ms)) for ms in some(times_of(box), 6)], program)
    return by_txid, by_time


# ---- what the VFS shows ----

PAGE_BEYOND = re.compile(r"Page (\d+) is never used")
OF_ITS_OWN = slice(18, 20), slice(24, 28)  # of the header: "not in WAL mode"; a change counter, at random


def assert_shows(shown, want, page_size):
    """It takes the highest page that any file holds for the size, so after a shrink there are pages beyond
    the end (in Litestream's own replicas too)."""
    assert len(shown) >= len(want) and len(shown) % page_size == 0
    shown = bytearray(shown[: len(want)])
    for its in OF_ITS_OWN:
        shown[its] = want[its]
    differ = [n for n in range(0, len(want), page_size) if shown[n : n + page_size] != want[n : n + page_size]]
    assert not differ, f"pages {[n // page_size + 1 for n in differ[:20]]} differ"


def assert_whole(integrity, page_count):
    """But for the pages beyond the end."""
    for line in (line for (text,) in integrity for line in text.splitlines()):
        found = PAGE_BEYOND.fullmatch(line)
        assert line in ("ok", "*** in database main ***") or found and int(found.group(1)) > page_count, line
