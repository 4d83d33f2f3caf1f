#!/usr/bin/python3
"""A small service on SQLite and Holdfast in Python, with nothing but its own library.

    holdfast replicate app.db s3://bucket/app &
    examples/app.py app.db 8080 build/src/ext/holdfast.so

    curl -d '{"name": "n1", "ip": "10.0.0.1"}' http://127.0.0.1:8080/node
    curl 'http://127.0.0.1:8080/node?ip=10.0.0.1'

or in one line, which also restores the database if it is missing:

    holdfast replicate -exec 'examples/app.py app.db 8080 build/src/ext/holdfast.so' app.db s3://bucket/app

SQLite is Python's, the database is plain. SELECT holdfast_wait() returns when what was committed is at the
destinations; whoever was answered "201" is told the truth by any machine that is restored. What may be lost
(when a node was last seen) is in a second file, which is not replicated.
"""
import contextlib
import http.server
import json
import os
import signal
import sqlite3
import sys
import urllib.parse

if len(sys.argv) != 4:
    sys.exit("usage: app.py DB PORT EXTENSION")
DB, PORT, EXTENSION = sys.argv[1], int(sys.argv[2]), sys.argv[3]
NOISE = os.path.splitext(DB)[0] + "-noise.db"
WAIT_MS = 30000
BODY_MAX = 65536

SCHEMA = """
PRAGMA main.journal_mode = WAL;
PRAGMA noise.journal_mode = WAL;
CREATE TABLE IF NOT EXISTS main.node(name TEXT PRIMARY KEY NOT NULL, ip TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS noise.seen(node TEXT PRIMARY KEY, at INTEGER, rx INTEGER, tx INTEGER);
"""


def connect():
    db = sqlite3.connect(DB, timeout=10, isolation_level=None)
    db.execute("ATTACH ? AS noise", (NOISE,))
    db.execute("PRAGMA noise.synchronous = OFF")
    db.enable_load_extension(True)
    db.load_extension(EXTENSION)
    db.enable_load_extension(False)
    return db


class Refused(Exception):
    pass


class Service(http.server.BaseHTTPRequestHandler):
    """A thread, and a connection of SQLite's, for each that calls."""

    protocol_version = "HTTP/1.1"

    def handle(self):
        with contextlib.closing(connect()) as self.db:
            super().handle()

    # ---- requests ----

    def post_node(self, body, _):
        if not all(isinstance(body.get(k), str) and body[k] for k in ("name", "ip")):
            raise Refused(400, "a node has a name and an ip")
        row = body["name"], body["ip"]
        try:
            self.db.execute("INSERT INTO node VALUES (?, ?)", row)
        except sqlite3.IntegrityError as e:
            if not self.db.execute("SELECT 1 FROM node WHERE (name, ip) = (?, ?)", row).fetchone():
                raise Refused(409, str(e)) from None
        self.wait()  # also for what another has just written: this answer confirms it
        return 201, body

    def get_node(self, _, fields):
        column = "ip" if "ip" in fields else "name"
        rows = self.db.execute(f"SELECT name, ip FROM node WHERE {column} = ?", (fields.get(column),))
        return 200, [{"name": name, "ip": ip} for name, ip in rows]

    def delete_node(self, _, fields):
        deleted = self.db.execute("DELETE FROM node WHERE name = ?", (fields.get("name"),)).rowcount
        self.wait()
        return (204, None) if deleted else (404, {"error": "no such node"})

    def post_seen(self, body, _):
        self.db.execute("INSERT INTO noise.seen VALUES (:node, unixepoch(), :rx, :tx) ON CONFLICT(node) DO"
                        " UPDATE SET at = excluded.at, rx = rx + excluded.rx, tx = tx + excluded.tx", body)
        return 204, None

    def get_stats(self, *_):
        nodes, seen = self.db.execute("SELECT (SELECT count(*) FROM node), (SELECT count(*) FROM seen)").fetchone()
        status = json.loads(self.db.execute("SELECT holdfast_status()").fetchone()[0])
        return 200, {"nodes": nodes, "seen": seen, "replication": status}

    def wait(self):
        try:
            self.db.execute("SELECT holdfast_wait(?, 'flush')", (WAIT_MS,)).fetchone()
        except sqlite3.Error as e:
            raise Refused(503, str(e)) from None

    # ---- HTTP ----

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        request = getattr(self, f"{self.command.lower()}_{url.path[1:]}", None)
        try:
            size = int(self.headers.get("content-length") or 0)
            if not request or size > BODY_MAX:
                raise Refused(404 if not request else 413, "no such request")
            body = json.loads(self.rfile.read(size) or "{}")
            if not isinstance(body, dict):
                raise Refused(400, "not an object of JSON")
            status, said = request(body, dict(urllib.parse.parse_qsl(url.query)))
        except Refused as e:
            status, said = e.args[0], {"error": e.args[1]}
        except (ValueError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as e:  # not JSON; a member is missing
            status, said = 400, {"error": str(e)}
        text = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


def main():
    with contextlib.closing(connect()) as db:
        db.executescript(SCHEMA)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Service)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


main()
