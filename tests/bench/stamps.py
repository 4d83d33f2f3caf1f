"""Which object made which commit durable.

The writer says of each commit when it was made and where it ends in the log; an object of level 0 says in its
header up to where in the log it goes. So no guess is needed, whatever the load. Objects are read through the
tests' own client, with no code of the product.
"""
import struct
from collections import namedtuple

LOG_HEADER, FRAME_HEADER = 32, 24

Commit = namedtuple("Commit", "ns log frames")
Object = namedtuple("Object", "txid log frames size")


def commits(text):
    """Of bench_writer stamps; `log` counts the logs, from 0."""
    logs, out = {}, []
    for line in text.splitlines():
        ns, salt, frames, _ = line.split()
        out.append(Commit(int(ns), logs.setdefault(salt, len(logs)), int(frames)))
    return out, logs


def objects(box, logs, after=0):
    """Of level 0, ascending. Those of a log before the first commit's are of log -1."""
    found = []
    for path in sorted((box / "0000").iterdir()):
        txid = int(path.name[:16], 16)
        if txid <= after:
            continue
        headers, head = path.client.ask("GET", path._at(), headers={"range": "bytes=0-99"})
        whole = int(headers["content-range"].rpartition("/")[2])
        page_size, = struct.unpack(">I", head[8:12])
        offset, size = struct.unpack(">qq", head[48:64])
        frames = (offset + size - LOG_HEADER) // (page_size + FRAME_HEADER)
        found.append(Object(txid, logs.get(head[64:72].hex(), -1), frames, whole))
    return found


def covers(commits_, objects_):
    """[(commit, the first object that has it)]; None for what no object has."""
    out, at = [], 0
    for c in commits_:
        while at < len(objects_) and objects_[at][1:3] < c[1:3]:
            at += 1
        out.append((c, objects_[at] if at < len(objects_) else None))
    return out
