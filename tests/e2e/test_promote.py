"""holdfast promote: keys become rows, both are written, and neither loses anything, up the ladder and down."""
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from box import COMMAND, NOBODY, PATIENCE, ROOT, until
from places import NO_REPLICA
from promotion import COLUMNS, SPEC, awkward, loads, run_section, run_up, same, sections, value

pytestmark = NO_REPLICA

KEYS = [f"/node/{i}" for i in range(6)] + ["/node/a/b", "/node/", "/node", "/node0", "/other", "/node/ü", "/node/a\0b"]
IDS = ["0", "1", "2", "3", "4", "5", "7", "a/b", "", "ü", "x\0y"]
RUNGS = ["index", "view", "shadow", "table", "retired"]


def written(box, spec, *rungs):
    """The migrations of these rungs, by name, in their sections."""
    (box.path / "a.promote").write_text(spec)
    texts = {}
    for rung in rungs:
        file = box.holdfast("promote", "write", "-dir", "m", "a.promote", rung).out.strip()
        texts[rung] = sections((box.path / file).read_text())
    return texts


def memory(recursive=False):
    c = sqlite3.connect(":memory:", isolation_level=None)
    c.execute("CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)")
    c.execute(f"PRAGMA recursive_triggers={int(recursive)}")
    return c


def keys_of(c):
    return dict(c.execute("SELECT Key, Value FROM DBX"))


def check(c, what):
    """Invariant 3 of ladder.c, and that each row gives back what its key has."""
    assert c.execute("SELECT * FROM node_differs").fetchall() == [], what
    for key, given in c.execute("SELECT kv_key, kv_value FROM node_value"):
        kept, = c.execute("SELECT Value FROM DBX WHERE Key=?", (key,)).fetchone()
        assert same(loads(kept), loads(given)), (what, key, kept, given)


class Walk:
    """Random writes to both sides, each looked at; `rung` is where it is."""

    def __init__(self, seed, texts):
        self.r, self.texts, self.seed = random.Random(seed), texts, seed
        self.c = memory(recursive=self.r.random() < 0.5)
        self.c.executemany("INSERT INTO DBX VALUES(?,?)", [(k, value(self.r)) for k in KEYS if self.r.random() < 0.6])
        run_up(self.c, texts["shadow"])
        self.rung, self.op = "shadow", None

    def do(self, sql, args=()):
        self.op = (self.seed, self.rung, sql, args)
        self.c.execute(sql, args)

    # ---- keys: a put never fails, and is there as it was put ----

    def put(self):
        key, v = self.r.choice(KEYS), value(self.r)
        expected = keys_of(self.c)
        there, kind = key in expected, self.r.randrange(6)
        if kind == 0:
            self.do("INSERT OR REPLACE INTO DBX VALUES(?,?)", (key, v))
        elif kind == 1:
            self.do("INSERT INTO DBX VALUES(?,?) ON CONFLICT(Key) DO UPDATE SET Value=excluded.Value", (key, v))
        elif kind == 2:
            self.do("INSERT OR IGNORE INTO DBX VALUES(?,?)", (key, v))
            v = expected.get(key, v)
        elif kind == 3:
            self.do("UPDATE DBX SET Value=? WHERE Key=?", (v, key))
        elif kind == 4:
            self.do("DELETE FROM DBX WHERE Key=?", (key,))
        else:
            return self.move_key(key, expected)
        if kind == 4:
            expected.pop(key, None)
        elif kind != 3 or there:
            expected[key] = str(v) if isinstance(v, (int, float)) else v
        assert keys_of(self.c) == expected, self.op

    def move_key(self, key, expected):
        to = self.r.choice(KEYS)
        self.do("UPDATE OR REPLACE DBX SET Key=? WHERE Key=?", (to, key))
        if key in expected:
            expected[to] = expected.pop(key)
        assert keys_of(self.c) == expected, self.op

    # ---- rows: a write is there as it was written, or refused and nothing has changed ----

    def row(self):
        pick = self.r.choice
        columns = (pick(["n", "ü", "", "it's", "a\0b", None]), pick(["1", None]), pick([0, 1, None, 5]),
                   pick([0.1, 1e300, 9e999, -0.0, 5, None, 0.1 + 0.2]), pick([1, 2**63 - 1, None]), pick(["u", None]),
                   pick(["o", None]))
        extra = pick(["{}", "{}", '{ "a" : 1 }', '{"ip":null}', '{"ip":"z"}', '{"user":5}', '{"user":{}}', '{"user":null}', "[]",
                      "nope", '{"a":1,"a":2}', '{"big":12345678901234567890}'])
        return columns, extra

    def write_row(self):
        before = keys_of(self.c)
        rejected = [k for k, in self.c.execute("SELECT key FROM holdfast_reject")]
        columns, extra = self.row()
        one, other = self.r.choice(IDS), self.r.choice(IDS)
        places = ",".join("?" * 9)
        kind, sql, args = self.r.choice([
            ("all", f"INSERT INTO node(id, {COLUMNS}, extra) VALUES({places})", (one, *columns, extra)),
            ("all", f"INSERT OR REPLACE INTO node(id, {COLUMNS}, extra) VALUES({places})", (one, *columns, extra)),
            ("some", f"INSERT INTO node(id, {COLUMNS}, extra) VALUES({places}) ON CONFLICT(id) DO UPDATE "
             "SET name=excluded.name, extra=excluded.extra", (one, *columns, extra)),
            ("seen", "UPDATE node SET seen=seen+1 WHERE id=?", (one,)),
            ("all", f"UPDATE node SET ({COLUMNS}, extra)=({places[2:]}) WHERE id=?", (*columns, extra, one)),
            ("gone", "DELETE FROM node WHERE id=?", (one,)),
            ("moved", "UPDATE node SET id=? WHERE id=?", (other, one)),
            ("moved", "UPDATE OR REPLACE node SET id=? WHERE id=?", (other, one)),
            ("some", "UPDATE node SET name=?, ip=? WHERE id IN (?,?)", (*columns[:2], one, other)),
        ])
        there = self.c.execute("SELECT count(*) FROM node WHERE id=?", (one,)).fetchone()[0]
        try:
            self.do(sql, args)
            done = True
        except sqlite3.Error:
            done = False
        after = keys_of(self.c)
        changed = {k for k in {*before, *after} if before.get(k) != after.get(k)}
        assert self.rung == "table" and done or not changed, self.op
        assert all(after[k] == before[k] for k in rejected), (self.op, "a reject is lost")
        assert changed <= {f"/node/{one}", f"/node/{other}"}, (self.op, changed)
        if done and self.rung == "table" and (there or sql.startswith("INSERT")):
            self.look_at(kind, one, columns, extra, before, after)

    def look_at(self, kind, one, columns, extra, before, after):
        key = f"/node/{one}"
        if kind == "all":
            assert self.c.execute(f"SELECT {COLUMNS} FROM node WHERE id=?", (one,)).fetchone() == columns, self.op
            wanted = {k: v for k, v in loads(extra).items() if v is not None}
            assert all(k == "user" or same(loads(after[key]).get(k), v) for k, v in wanted.items()), self.op
        elif kind == "gone":
            assert key not in after, self.op
        elif kind == "seen" and same(loads(before[key]).get("seen"), None) is False:
            a, b = loads(before[key]), loads(after[key])
            assert b.pop("seen") == a.pop("seen") + 1 and same(a, b), (self.op, before[key], after[key])

    # ---- and between ----

    def rolled_back(self):
        before, rows = keys_of(self.c), self.c.execute("SELECT * FROM node").fetchall()
        self.c.execute("BEGIN")
        for _ in range(3):
            self.c.execute("INSERT OR REPLACE INTO DBX VALUES(?,?)", (self.r.choice(KEYS), value(self.r)))
        self.c.execute("ROLLBACK")
        assert (before, rows) == (keys_of(self.c), self.c.execute("SELECT * FROM node").fetchall())

    def change_rung(self):
        up = self.rung == "shadow"
        run_section(self.c, self.texts["table"]["contract" if up else "down"][0])
        self.rung = "table" if up else "shadow"

    def step(self):
        ways, weights = [self.put, self.write_row, self.rolled_back, self.change_rung], [10, 10, 1, 1]
        self.r.choices(ways, weights)[0]()
        check(self.c, self.op)


@pytest.mark.parametrize("seed", range(12))
def test_both_sides_agree_after_each_write(box, seed):
    walk = Walk(seed, written(box, SPEC, "shadow", "table"))
    check(walk.c, "the backfill")
    for _ in range(250):
        walk.step()


# ---- one by one ----

BIG = "1" * 25


@pytest.mark.parametrize("key, given, why", [
    ("/node/1", '{"name":"a"}', None),
    ("/node/ü ~", '{"name":"a","ip":null,"up":null,"load":5,"seen":-9223372036854775808,"user":7,"else":' + BIG + "}", None),
    ("/node/1", '{"name":"a","load":1152921504606846976,"tags":{"a":1,"a":2}}', None),
    ("/node/1", r'{"name":"\ud83d\ude00","user":{"n\u0061me2":1}}', None),
    ("/node/", '{"name":"a"}', "the key is not like /node/{id}"),
    ("/node/a/b", '{"name":"a"}', "the key is not like /node/{id}"),
    ("/node/a\0b", '{"name":"a"}', "the key is not like /node/{id}"),
    ("/node/1", b'{"name":"a"}', "the value is a blob"),
    ("/node/1", '{"name":"a"}\0', "the value has a NUL in it"),
    ("/node/1", "", "the value is not JSON"),
    ("/node/1", "{'name':'a'}", "the value is not JSON"),
    ("/node/1", "7", "the value is JSON, and not an object"),
    ("/node/1", '{"name":"a","name":"b"}', "a member of $ is there twice, or spelled with escapes"),
    ("/node/1", '{"name":"a","user":{"name":"a","name":"b"}}', "a member of $.user is there twice, or spelled with escapes"),
    ("/node/1", "{}", "$.name is missing"),
    ("/node/1", '{"name":null}', "$.name is null"),
    ("/node/1", '{"name":{}}', "$.name is object, not TEXT"),
    ("/node/1", '{"name":"a","ip":1}', "$.ip is integer, not TEXT"),
    ("/node/1", '{"name":"a","up":1}', "$.up is integer, not BOOL"),
    ("/node/1", '{"name":"a","seen":1.0}', "$.seen is real, not INT"),
    ("/node/1", '{"name":"a","seen":9223372036854775808}', "$.seen is beyond 64 bits"),
    ("/node/1", '{"name":"a","load":true}', "$.load is true, not REAL"),
    ("/node/1", '{"name":"a","load":9007199254740993}', "$.load is not kept by a REAL"),
    ("/node/1", '{"name":"a","load":' + BIG + "}", "$.load is not kept by a REAL"),
    ("/node/1", '{"name":"a","load":1e999}', "$.load is not kept by a REAL"),
    ("/node/1", r'{"name":"a\u0000b"}', "a string has a NUL or half a character in it"),
    ("/node/1", r'{"name":"a","user":{"name":"\ud800!"}}', "a string has a NUL or half a character in it"),
])
def test_what_fits_and_what_does_not(box, key, given, why):
    c = memory()
    c.execute("INSERT INTO DBX VALUES(?,?)", (key, given))
    run_up(c, written(box, SPEC, "shadow")["shadow"])
    for _ in range(2):  # by the backfill, and by the trigger
        assert c.execute("SELECT why FROM holdfast_reject WHERE name='node' AND key=?", (key,)).fetchone() == (why and (why,))
        assert c.execute("SELECT count(*) FROM node").fetchone() == (int(not why),)
        check(c, key)
        c.execute("DELETE FROM DBX")
        assert c.execute("SELECT (SELECT count(*) FROM node) + (SELECT count(*) FROM holdfast_reject)").fetchone() == (0,)
        c.execute("INSERT INTO DBX VALUES(?,?)", (key, given))


@pytest.mark.parametrize("rung", ["shadow", "table"])
@pytest.mark.parametrize("recursive", [0, 1])
def test_a_value_that_is_null_counts_as_none(box, rung, recursive):
    c, texts = memory(recursive), written(box, SPEC, "shadow", "table")
    c.execute("INSERT INTO DBX VALUES('/node/0', NULL)")
    run_up(c, texts["shadow"])
    if rung == "table":
        run_up(c, texts["table"])
    for put in ("INSERT OR REPLACE INTO DBX VALUES('/node/1', ?)", "UPDATE DBX SET Value=? WHERE Key='/node/1'",
                "INSERT INTO DBX VALUES('/node/1', ?) ON CONFLICT(Key) DO UPDATE SET Value=excluded.Value"):
        for before in ('{"name":"a"}', "odd"):
            c.execute("INSERT OR REPLACE INTO DBX VALUES('/node/1', ?)", (before,))
            c.execute(put, (None,))
            assert keys_of(c) == {"/node/0": None, "/node/1": None}
            assert c.execute("SELECT (SELECT count(*) FROM node) + (SELECT count(*) FROM holdfast_reject)").fetchone() == (0,)
            check(c, put)
    if rung == "table":
        c.execute("INSERT INTO node(id, name) VALUES('1', 'b')")
        assert keys_of(c) == {"/node/0": None, "/node/1": '{"name":"b"}'}


@pytest.mark.parametrize("sql", [
    "INSERT INTO node(id, name) VALUES('9', 'x')", "INSERT OR REPLACE INTO node(id, name) VALUES('1', 'x')",
    "UPDATE node SET name = 'x' WHERE id = '1'", "DELETE FROM node", "DELETE FROM node WHERE id = '1'",
    "UPDATE node SET id = '9' WHERE id = '1'", "UPDATE OR REPLACE node SET id = '2' WHERE id = '1'",
    "UPDATE node SET extra = '{ }' WHERE id = '1'", "UPDATE OR IGNORE node SET seen = 1", "INSERT INTO node(id, name) VALUES('bad', 'x')",
])
def test_a_shadow_is_not_written(box, sql):
    c = memory()
    c.executemany("INSERT INTO DBX VALUES(?,?)", [("/node/1", '{"name":"a"}'), ("/node/2", '{"name":"a"}'), ("/node/bad", '{"name":1}')])
    run_up(c, written(box, SPEC, "shadow")["shadow"])
    before = c.execute("SELECT * FROM node").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match="node is kept from the keys under /node/, and not written itself: put the key"):
        c.execute(sql)
    assert c.execute("SELECT * FROM node").fetchall() == before
    c.execute("UPDATE node SET name = name")  # says nothing new


@pytest.mark.parametrize("sql, words", [
    ("INSERT INTO node(id, name) VALUES('bad', 'x')", "the key of this row has a value that does not fit"),
    ("UPDATE node SET id = 'bad'", "the key of this row has a value that does not fit"),
    ("UPDATE node SET id = 'a/b'", "CHECK constraint"),
    ("UPDATE node SET id = ''", "CHECK constraint"),
    ("UPDATE node SET id = 'a' || char(0)", "this row cannot be a key and its value"),
    ("UPDATE node SET ip = 'a' || char(0)", "this row cannot be a key and its value"),
    ("UPDATE node SET extra = '{\"name\":\"b\"}'", "CHECK constraint"),
    ("UPDATE node SET extra = '{\"ip\":\"b\"}', ip = 'c'", "CHECK constraint"),
    ("UPDATE node SET extra = '{\"user\":7}', user_name = 'b'", "this row cannot be a key and its value"),
    ("UPDATE node SET extra = '[]'", "CHECK constraint"),
    ("UPDATE node SET load = 9e999", "CHECK constraint"),
    ("UPDATE node SET up = 2", "CHECK constraint"),
])
def test_a_row_that_no_key_could_give_is_refused(box, sql, words):
    c, texts = memory(), written(box, SPEC, "shadow", "table")
    run_up(c, texts["shadow"])
    run_up(c, texts["table"])
    c.executemany("INSERT INTO DBX VALUES(?,?)", [("/node/1", '{ "name":"a" }'), ("/node/bad", '{"name":1}')])
    with pytest.raises(sqlite3.IntegrityError, match=words):
        c.execute(sql)
    assert keys_of(c) == {"/node/1": '{ "name":"a" }', "/node/bad": '{"name":1}'}
    check(c, sql)


def test_only_a_changed_row_changes_its_value(box):
    c, texts = memory(), written(box, SPEC, "shadow", "table")
    run_up(c, texts["shadow"])
    run_up(c, texts["table"])
    values = {f"/node/{i}": '{ "ip" : "1", "name":"a",\n"n":1.10, "seen": %d }' % i for i in range(9)}
    c.executemany("INSERT INTO DBX VALUES(?,?)", values.items())
    c.execute("UPDATE node SET ip = CASE WHEN seen = 4 THEN '2' ELSE ip END, seen = seen")
    c.execute("INSERT INTO node(id, name, ip, seen) VALUES('5', 'a', '1', 5) ON CONFLICT(id) DO UPDATE SET ip = excluded.ip")
    after = keys_of(c)
    assert {k for k in values if values[k] != after[k]} == {"/node/4"}
    assert after["/node/4"] == '{"n":1.10,"name":"a","ip":"2","seen":4}'


# ---- specs of all kinds ----

PATHS = ["$.a", "$.b", "$.user.name", "$.user.id", '$.user."the name"', '$."it\'s"', "$.ü", "$.deep.er.still", "$.key", "$.why",
         "$.select", '$."a.b"', *[f"$.c{i}" for i in range(45)]]
TYPICAL = {
    "TEXT": ['"x"', '""', '"it\'s"', r'"q\"q\\"', r'"\u00fc\ud83d\ude00"', '"ü€"', r'"\n\t"', '"5"', '"null"'],
    "INT": ["0", "-1", "9223372036854775807", "-9223372036854775808", "7"],
    "REAL": ["0.1", "5", "-0.0", "1e300", "0.30000000000000004", "1E-7", "9007199254740992"],
    "BOOL": ["true", "false"],
}


def random_spec(r):
    """The text, and (path, type, notnull) of each member's column, and (literal or type of a part) of the key."""
    chosen = [(p, r.choice([*TYPICAL]), r.random() < 0.3) for p in r.sample(PATHS, r.choice([0, 1, 3, 8, 30, len(PATHS)]))]
    key = r.choice(["{}", "{}/{}", "{}.{}-{}", "x{}/y/{}/end", "{}/end"])
    types = [r.choice(["TEXT", "INT"]) for _ in range(key.count("{"))]
    names = [f"k{i}" for i in range(len(types))]
    lines = [f'-- holdfast:promote {r.choice(["t", "order", "Group"])} prefix=/p/ key=/p/{key.format(*["{" + n + "}" for n in names])}']
    lines += [f"-- col {n} {t} key" for n, t in zip(names, types)]
    for i, (path, kind, notnull) in enumerate(chosen):
        name = ["select", "value", "key", "why", "name", "order", "from"][i % 7] if i < 7 else f"m{i}"
        lines.append(f"-- col {name} {kind} {path}{' notnull' if notnull else ''}{r.choice(['', ' index'])}")
    return "\n".join([*lines, "-- rest rest", ""]), chosen, key, types


def value_for(r, columns):
    """Mostly as the spec has it, as a text of JSON."""
    tree = {}
    for path, kind, notnull in columns:
        if r.random() > (0.999 if notnull else 0.7):
            continue
        text = awkward(r) if r.random() < 0.005 else "null" if not notnull and r.random() < 0.1 else r.choice(TYPICAL[kind])
        names, at = [a or b for a, b in re.findall(r'\.(?:"([^"]*)"|([^."]+))', path)], tree
        for name in names[:-1]:
            at = at.setdefault(name, {})
        at[names[-1]] = text
    if r.random() < 0.3:
        tree.setdefault(r.choice(["z", "user", "zz", "deep"]), awkward(r))
    members = list(tree.items())
    r.shuffle(members)
    return written_json(dict(members))


def written_json(v):
    """Its leaves are texts of JSON already."""
    return v if isinstance(v, str) else "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{written_json(x)}" for k, x in v.items()) + "}"


def key_for(r, key, types):
    good = {"TEXT": ["a", "ü", "007", "a b"], "INT": ["0", "-5", "123", "9223372036854775807"]}
    return "/p/" + key.format(*[r.choice(["", "a/b", "007", "x"] if r.random() < 0.03 else good[t]) for t in types])


@pytest.mark.parametrize("seed", range(25))
def test_what_a_row_gives_back_is_its_value(box, seed):
    """Any spec, any value: project, regenerate, project is the identity, or the key is a reject."""
    r = random.Random(seed)
    spec, columns, key, types = random_spec(r)
    name = spec.split()[2]
    texts = written(box, spec, "shadow", "table")
    c = memory(recursive=seed % 2)
    keys = {}
    for _ in range(80):
        keys[key_for(r, key, types)] = value_for(r, columns)
    c.executemany("INSERT INTO DBX VALUES(?,?)", keys.items())
    run_up(c, texts["shadow"])
    run_section(c, texts["table"]["contract"][0])
    given = c.execute(f"SELECT kv_key, kv_value FROM {name}_value").fetchall()
    rejects = dict(c.execute("SELECT key, why FROM holdfast_reject"))
    assert keys_of(c) == keys and {k for k, _ in given}.isdisjoint(rejects) and len(given) + len(rejects) == len(keys)
    assert len(given) > len(keys) / 2, rejects
    for k, v in given:
        assert same(loads(keys[k]), loads(v)), (spec, k, keys[k], v)
    rows = c.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
    c.executemany("INSERT OR REPLACE INTO DBX VALUES(?,?)", given)
    assert c.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall() == rows
    assert keys_of(c) == {**keys, **dict(given)}
    assert c.execute(f"SELECT * FROM {name}_differs").fetchall() == []


# ---- the command, up the ladder and down, while others write ----

ODD = ["nope", "[1]", '{"name":5}', '{"name":"a","name":"b"}', '{"ip":"no name"}', '{"name":"a","seen":12345678901234567890}']


def node(r, i):
    v = {"name": f"node{i}", "ip": f"10.0.{i >> 8}.{i & 255}", "up": r.random() < 0.9, "seen": r.randrange(1 << 40), "load": r.random(),
         "user": {"name": f"u{i % 10}", "id": i}, "tags": ["a", "b"], "big": 2**70 + i}
    if i % 7 == 0:
        v["ip"] = None
    if i % 3 == 0:
        del v["load"]
    return json.dumps(v, indent=r.choice([None, 1]))


def begun(c):
    """SQLite's own way to wait for a lock lets one of two writers starve."""
    try:
        c.execute("BEGIN IMMEDIATE")
        return True
    except sqlite3.OperationalError as e:
        assert "locked" in str(e), e
        time.sleep(random.random() / 1000)
        return False


class Writer(threading.Thread):
    """Writes until it is told to stop, one row or key in each transaction; `kept` is what it has committed."""

    def __init__(self, path, step, kept=()):
        super().__init__(daemon=True)
        self.path, self.step, self.over, self.count, self.error, self.kept = path, step, threading.Event(), 0, None, dict(kept)
        self.begun = threading.Event()
        self.start()
        assert self.begun.wait(PATIENCE)

    def run(self):
        c = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        c.execute("PRAGMA synchronous=OFF")
        r = random.Random(7)
        try:
            while not self.over.is_set():
                if not begun(c):
                    continue
                done = self.step(c, r)
                c.execute("COMMIT")
                self.kept.update(done)
                self.count += 1
                self.begun.set()
        except Exception as e:
            self.error = e
        c.close()
        self.begun.set()

    def stop(self):
        self.over.set()
        self.join()
        assert not self.error, self.error
        return self.kept


class Ladder:
    """A database whose keys i % 4 == 0 are the KV writer's, == 1 the SQL writer's; nobody touches the others."""

    def __init__(self, box, count, tell):
        self.box, self.count, self.tell, r = box, count, tell, random.Random(1)
        c = box.app()
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)")
        keys = {f"/node/{i}": r.choice(ODD) if r.random() < 0.01 else node(r, i) for i in range(count)}
        c.execute("BEGIN")
        c.executemany("INSERT INTO DBX VALUES(?,?)", keys.items())
        c.execute("COMMIT")
        self.c, self.keys, self.odd = c, keys, True

    def put(self, c, r):
        key = f"/node/{r.randrange(0, self.count, 4)}"
        kind = r.random()
        if kind < 0.1:
            c.execute("DELETE FROM DBX WHERE Key=?", (key,))
            return {key: None}
        v = r.choice(ODD) if self.odd and kind < 0.15 else node(r, r.randrange(self.count))
        how = r.choice(["INSERT OR REPLACE INTO DBX VALUES(?1,?2)",
                        "INSERT INTO DBX VALUES(?1,?2) ON CONFLICT(Key) DO UPDATE SET Value=excluded.Value"])
        c.execute(how, (key, v))
        return {key: v}

    def change_row(self, c, r):
        one, seen = str(r.randrange(1, self.count, 4)), r.randrange(1 << 40)
        if r.random() < 0.1:
            c.execute("DELETE FROM node WHERE id=?", (one,))
            return {one: None}
        c.execute("INSERT INTO node(id, name, seen) VALUES(?1,?2,?3) ON CONFLICT(id) DO UPDATE SET seen=excluded.seen",
                  (one, f"new{one}", seen))
        return {one: seen}

    def promote(self, verb, *args, code=0):
        return self.box.holdfast("promote", verb, *args, code=code, patience=900)

    def schema(self, verb, *args, code=0):
        return self.box.holdfast("schema", verb, "-dir", "m", *args, "app.db", code=code, patience=900)

    def up(self, rung):
        self.promote("write", "-dir", "m", "a.promote", rung)
        self.schema("apply", "-no-restore-point")

    def verify(self, rung):
        said = json.loads(self.promote("verify", "-json", "app.db", "a.promote").out)
        assert said["rung"] == rung and said["differences"] == 0, said
        status, = json.loads(self.promote("status", "-json", "app.db").out)
        assert (status["rung"], status["key"]) == (rung, "/node/{id}")
        self.tell(said)
        return said

    def untouched(self):
        now = dict(self.c.execute("SELECT Key, Value FROM DBX"))
        for i in range(self.count):
            if i % 4 > 1:
                assert now[f"/node/{i}"] == self.keys[f"/node/{i}"]
        return now


def climb(box, count, settle, tell=lambda verified: None):
    """All rungs up and down, with writers on both sides. `settle` lets them work a while; `tell` is told each verification."""
    ladder = Ladder(box, count, tell)
    ladder.promote("analyze", "-name", "node", "-key", "/node/{id}", "-o", "a.promote", "app.db", "/node/")
    spec = box.path / "a.promote"
    spec.write_text(re.sub(r"^(-- col ip .*)$", r"\1 index", spec.read_text(), flags=re.M))
    keys = Writer(box.db, ladder.put)
    for rung in ("index", "view", "shadow"):
        ladder.up(rung)
        settle([keys])
        ladder.verify(rung) if rung == "shadow" else None
    assert ladder.verify("shadow")["rejects"] > 0
    with pytest.raises(sqlite3.IntegrityError, match="node is kept from the keys under /node/"):
        ladder.c.execute("UPDATE node SET seen = 5 WHERE id = '1'")

    # Rejects keep the table from being written, and are named.
    ladder.promote("write", "-dir", "m", "a.promote", "table")
    failed = ladder.schema("apply", "-no-restore-point", code=5)
    assert "the verification gives" in failed.err
    assert ladder.verify("shadow")["rejects"] > 0
    ladder.odd = False
    put = keys.stop()
    for reject in json.loads(ladder.promote("rejects", "-json", "app.db", "node").out):
        number = int(reject["key"].rsplit("/", 1)[1])
        repaired = node(random.Random(number), number)
        with ladder.c:
            ladder.c.execute("UPDATE DBX SET Value=? WHERE Key=?", (repaired, reject["key"]))
        ladder.keys[reject["key"]] = repaired
        if number % 4 == 0:
            put[reject["key"]] = repaired
    keys = Writer(box.db, ladder.put, put)
    ladder.schema("apply", "-no-restore-point")
    ladder.verify("table")

    # Both sides write; odd values are rejects again, and their rows gone.
    ladder.odd = True
    rows = Writer(box.db, ladder.change_row)
    settle([keys, rows])
    ladder.verify("table")
    changed, put = rows.stop(), keys.stop()
    now = ladder.untouched()
    for key, v in put.items():
        assert now.get(key) == v, key
    for one, seen in changed.items():
        value_now = now.get(f"/node/{one}")
        assert (value_now is None) if seen is None else loads(value_now)["seen"] == seen
        if seen is not None and loads(value_now).get("name") == f"node{one}":  # what has no column, and is in no row, is kept
            before = loads(ladder.keys[f"/node/{one}"])
            assert same({**loads(value_now), "seen": 0}, {**before, "seen": 0})
    verified = ladder.verify("table")
    assert verified["rejects"] > 0 and verified["values"]["lossy"] == 0

    # The keys go, but the rejects; the rows stay, and are written.
    rejects = {r["key"] for r in json.loads(ladder.promote("rejects", "-json", "app.db").out)}
    ladder.up("retired")
    assert {k for k, in ladder.c.execute("SELECT Key FROM DBX")} == rejects
    with pytest.raises(sqlite3.IntegrityError, match="the keys under /node/ are retired"):
        ladder.c.execute("INSERT OR REPLACE INTO DBX VALUES('/node/1', '{}')")
    rows = Writer(box.db, ladder.change_row)
    settle([rows])
    changed = rows.stop()
    ladder.verify("retired")

    # And back.
    assert "lossy" in ladder.schema("down", "-no-restore-point", code=2).err
    ladder.schema("down", "-no-restore-point", "-accept-lossy")
    ladder.verify("table")
    now = dict(ladder.c.execute("SELECT Key, Value FROM DBX"))
    assert rejects <= now.keys()
    for i in range(count):
        key = f"/node/{i}"
        if i % 4 > 1:
            assert same(loads(now[key]), loads(ladder.keys[key])), key
    for one, seen in changed.items():
        assert (f"/node/{one}" not in now) if seen is None else loads(now[f"/node/{one}"])["seen"] == seen
    keys, rows = Writer(box.db, ladder.put), Writer(box.db, ladder.change_row)
    settle([keys, rows])
    rows.stop()
    ladder.schema("down", "-no-restore-point")
    ladder.verify("shadow")
    settle([keys])
    for _ in range(3):
        ladder.schema("down", "-no-restore-point")
    put = keys.stop()
    now = dict(ladder.c.execute("SELECT Key, Value FROM DBX"))
    assert all(now.get(key) == v for key, v in put.items())
    assert ladder.c.execute("SELECT name FROM sqlite_master WHERE name LIKE 'node%' OR name LIKE 'hf_kv%'").fetchall() == []
    assert ladder.c.execute("SELECT count(*) FROM holdfast_reject").fetchone() == (0,)


def until_written(writers, most=100, patience=PATIENCE):
    before = [w.count for w in writers]
    for writer, count in zip(writers, before):
        until(lambda: writer.error or writer.count >= count + most, "writes", patience)


def test_up_the_ladder_and_down_while_both_sides_write(box):
    climb(box, 3000, until_written)


# ---- with the rest of the program ----


def store(box, keys, db=None):
    c = box.app(db or box.db)
    c.execute("PRAGMA journal_mode=WAL")
    c.execute("CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)")
    c.execute("BEGIN")
    c.executemany("INSERT INTO DBX VALUES(?,?)", keys.items())
    c.execute("COMMIT")
    return c


def test_a_rehearsal_goes_up_and_down_all_rungs(box):
    c = store(box, {f"/node/{i}": node(random.Random(i), i) for i in range(300)} | {"/other": "{}"})
    (box.path / "a.promote").write_text(SPEC)
    for rung in RUNGS:
        box.holdfast("promote", "write", "-dir", "m", "a.promote", rung)
    before = keys_of(c)
    said = json.loads(box.holdfast("schema", "rehearse", "-json", "-from", "live", "-dir", "m", "app.db", patience=60).out)
    assert said["ok"], said
    shapes = [r["shape_equal"] for r in said["revert"] + said["down"]]
    assert len(shapes) >= 5 and all(shapes), said
    assert keys_of(c) == before and c.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'node%'").fetchone() == (0,)
    box.holdfast("schema", "lint", "-dir", "m")
    box.holdfast("schema", "apply", "-dir", "m", "-no-restore-point", "app.db", patience=60)
    assert "is what the migrations say" in box.holdfast("schema", "drift", "-dir", "m", "app.db").out


def test_all_of_it_on_a_new_database(box):
    """Of a program that carries its migrations; the store has not made its table yet."""
    written(box, SPEC, *RUNGS)
    box.holdfast("schema", "apply", "-create", "-dir", "m", "app.db", patience=60)
    c = box.app()
    c.execute("INSERT INTO node(id, name) VALUES('1', 'a')")
    assert c.execute("SELECT id, name FROM node_v").fetchall() == [("1", "a")] and keys_of(c) == {}


def test_keys_of_noise_become_a_table_of_noise(box):
    store(box, {"/a": "{}"})
    noise = box.path / "app-noise.db"
    c = store(box, {"/seen/1": '{"at":5}', "/seen/2": "[]"}, noise)
    said = box.holdfast("promote", "analyze", "-noise", noise, "-name", "seen", "-o", "s.promote", "app.db", "/seen/").out
    assert said.startswith("2 keys in noise, 1 of them objects; 1 would not fit\n")
    assert "db=noise\n" in (box.path / "s.promote").read_text()
    assert box.holdfast("promote", "write", "-dir", "m", "s.promote", "3").out.startswith("m/noise/")
    assert "say -noise PATH" in box.holdfast("promote", "verify", "app.db", "s.promote", code=2).err
    box.holdfast("schema", "apply", "-noise", noise, "-dir", "m", "-no-restore-point", "app.db", patience=60)
    assert c.execute("SELECT id, at, extra FROM seen").fetchall() == [(1, 5, "{}")]
    box.holdfast("promote", "verify", "-noise", noise, "app.db", "s.promote")
    status, = json.loads(box.holdfast("promote", "status", "-json", "-noise", noise, "app.db").out)
    assert (status["database"], status["keys"], status["rows"], status["rejects"]) == ("noise", 2, 1, 1)
    box.sql("INSERT INTO DBX VALUES('/seen/3', '{}')")
    assert "has keys in main and in noise" in box.holdfast(
        "promote", "analyze", "-noise", noise, "-name", "seen", "app.db", "/seen/", code=5).err


def test_verify_finds_what_nobody_else_saw(box):
    """What SQLite tells no trigger: a row that goes by REPLACE and another's UNIQUE; and tables edited by hand."""
    c = store(box, {f"/node/{i}": f'{{"name":"n{i}","ip":"{i}"}}' for i in range(9)} | {"/node/x": "no"})
    written(box, SPEC, "shadow", "table")
    box.sql("DELETE FROM DBX WHERE Key='/node/x'")
    box.holdfast("schema", "apply", "-dir", "m", "-no-restore-point", "app.db", patience=60)
    box.holdfast("promote", "verify", "app.db", "a.promote")
    c.execute("PRAGMA recursive_triggers=OFF")
    c.execute("CREATE UNIQUE INDEX own ON node(ip)")
    c.execute("INSERT OR REPLACE INTO node(id, name, ip) VALUES('20', 'a', '3')")
    said = json.loads(box.holdfast("promote", "verify", "-json", "app.db", "a.promote", code=5).out)
    assert said["differ"] == [{"key": "/node/3", "what": "the row is not that of the key"}] and said["differences"] == 1
    c.execute("DELETE FROM DBX WHERE Key='/node/3'")
    box.holdfast("promote", "verify", "app.db", "a.promote")
    c.execute("INSERT INTO holdfast_reject VALUES('node', '/node/1', 'said so', 0)")
    c.execute("DROP TRIGGER node_put_delete")
    c.execute("DELETE FROM node WHERE id IN ('5', '6')")
    c.execute("DROP TRIGGER node_put_update")
    c.execute("UPDATE node SET name = 'else' WHERE id = '7'")
    assert json.loads(box.holdfast("promote", "verify", "-json", "app.db", "a.promote", code=5).out)["values"] == {
        "bytes": 6, "semantic": 0, "lossy": 1}
    out = box.holdfast("promote", "verify", "app.db", "a.promote", code=5).out
    assert out.startswith("DIFFERS: node, rung table, 9 keys, 7 rows, 1 rejects\n") and "5 differences:\n" in out, out
    for line in ("/node/1: it is called a reject, and is none", "/node/5: the row is not", "/node/6: the row is not"):
        assert f"  {line}" in out, out


def test_a_row_stays_who_others_refer_to(box):
    """A put of a key updates its row: a child with ON DELETE CASCADE stays; a deleted key takes it along."""
    c = store(box, {"/node/1": '{"name":"a"}', "/node/2": '{"name":"b"}'})
    c.execute("PRAGMA foreign_keys=ON")
    run_up(c, written(box, SPEC, "shadow")["shadow"])
    c.execute("CREATE TABLE child(id INTEGER PRIMARY KEY, node TEXT NOT NULL REFERENCES node ON DELETE CASCADE)")
    c.execute("INSERT INTO child(node) VALUES('1'), ('2')")
    c.execute("INSERT OR REPLACE INTO DBX VALUES('/node/1', '{\"name\":\"c\"}')")
    c.execute("INSERT INTO DBX VALUES('/node/1', '{\"name\":\"d\"}') ON CONFLICT(Key) DO UPDATE SET Value=excluded.Value")
    assert c.execute("SELECT name, node FROM child JOIN node ON node.id = node").fetchall() == [("d", "1"), ("b", "2")]
    c.execute("DELETE FROM DBX WHERE Key='/node/2'")
    assert c.execute("SELECT node FROM child").fetchall() == [("1",)]


# ---- analyze, and what is refused ----


def test_analyze_counts_and_proposes(box):
    values = {f"/node/{i}": node(random.Random(i), i) for i in range(100)}
    values |= {"/node/a": "no JSON", "/node/b/c": '{"name":"x"}', "/node/d": '{"ip":1}', "/node/e": None}
    store(box, values | {"/nodes": "{}"})
    before = box.sql("SELECT * FROM DBX"), box.sql("PRAGMA data_version")
    said = json.loads(box.holdfast("promote", "analyze", "-json", "-name", "node", "app.db", "/node/").out)
    assert (said["keys"], said["objects"], said["key"], said["rejects"]) == (103, 102, "/node/{id}", 3)
    members = {m["path"]: m for m in said["members"]}
    assert {p: (m["column"], m["type"]) for p, m in members.items()} == {
        "$.name": ("name", "TEXT"), "$.ip": ("ip", "TEXT"), "$.up": ("up", "BOOL"), "$.seen": ("seen", "INT"),
        "$.load": ("load", "REAL"), "$.user": (None, None), "$.user.name": ("user_name", "TEXT"), "$.user.id": ("user_id", "INT"),
        "$.tags": (None, None), "$.big": (None, None)}
    assert members["$.big"]["beyond_64_bits"] == 100 and members["$.ip"]["nulls"] == 15 and members["$.ip"]["types"]["integer"] == 1
    assert members["$.seen"]["missing"] == 2 and members["$.name"]["missing"] == 1
    assert sorted(w["why"] for w in said["why"]) == [
        "$.ip is integer, not TEXT", "the key is not like /node/{id}", "the value is not JSON"]
    assert said["values"] == {"bytes": 0, "semantic": 100, "lossy": 0}
    (box.path / "a.promote").write_text(said["spec"])
    assert "node, rung none, 103 keys, no table yet" in box.holdfast("promote", "verify", "app.db", "a.promote").out
    box.holdfast("promote", "analyze", "-name", "node", "-o", "b.promote", "app.db", "/node/")
    text = (box.path / "b.promote").read_text()
    assert text.startswith(said["spec"] + "--- 103 keys in main, 102 of them objects; 3 would not fit\n")
    assert box.holdfast("promote", "write", "-print", "b.promote", "3").out.startswith("-- node, from the keys under /node/: rung 3")
    assert not (box.path / "migrations").exists()
    assert (box.sql("SELECT * FROM DBX"), box.sql("PRAGMA data_version")) == before


def test_names_of_columns_are_made_of_any_members(box):
    members = '{"id":1,"Id":2,"extra":3,"rowid":4,"kv_x":5,"a b":{"c.d":6},"ü":7,"9":8,"order":9,"%s":10}' % ("long" * 30)
    store(box, {"/x/5": members, "/x/6": members})
    box.holdfast("promote", "analyze", "-name", "x", "-o", "x.promote", "app.db", "/x/")
    spec = (box.path / "x.promote").read_text()
    names = re.findall(r"^-- col (\w+) ", spec, re.M)
    assert names[:1] == ["id"] and {"id_2", "Id_3", "extra_2", "v_rowid", "v_kv_x", "a_b_c_d", "v_9", "order"} <= set(names), names
    for rung in RUNGS[1:]:
        box.holdfast("promote", "write", "-dir", "m", "x.promote", rung)
    box.holdfast("schema", "apply", "-dir", "m", "-no-restore-point", "app.db", patience=60)
    assert box.sql('SELECT id, id_2, "order" FROM x') == [(5, 1, 9), (6, 1, 9)]


@pytest.mark.parametrize("arguments, code, words", [
    ([], 2, "promote needs one of analyze, write"),
    (["analyse", "DB", "/a/"], 2, "promote has no verb 'analyse': did you mean 'analyze'?"),
    (["DB", "/a/"], 2, "promote needs one of"),
    (["analyze", "DB"], 2, "needs a database and a prefix"),
    (["analyze", "DB", "/a/"], 2, "needs -name"),
    (["analyze", "-name", "a-b", "DB", "/a/"], 2, "'a-b': a name is letters"),
    (["analyze", "-name", "a", "-key", "/b/{id}", "DB", "/a/"], 2, "does not begin with the prefix"),
    (["analyze", "-name", "a", "-key", "/a/{", "DB", "/a/"], 2, "a column in braces"),
    (["analyze", "-name", "a", "DB", "/nobody/"], 3, "/nobody/: no key under it"),
    (["analyze", "-name", "a", "other.db", "/a/"], 3, "/a/: no key under it"),
    (["analyze", "-name", "a", "DB", "/a\n"], 2, "a control character"),
    (["analyze", "-name", "a", "none.db", "/a/"], 3, "none.db"),
    (["analyze", "-name", "a", "text", "/a/"], 4, "text: file is not a database"),
    (["analyze", "-name", "a", "-o", "text", "DB", "/a/"], 5, "text"),
    (["analyze", "-name", "a", "-dir", "m", "DB", "/a/"], 2, "-dir is not an option of promote analyze"),
    (["write", "-nmae", "a", "SPEC", "3"], 2, "did you mean -name?"),
    (["write", "SPEC", "6"], 2, "rung 6: it is index, view"),
    (["write", "SPEC", "4"], 2, "a_4_table: it stands on shadow, which is not there: write that first"),
    (["write", "text", "3"], 4, "text:1: each line begins with --"),
    (["write", "none", "3"], 3, "none"),
    (["verify", "DB", "text"], 4, "text:1:"),
    (["verify", "other.db", "SPEC"], 3, "it has no table DBX"),
    (["status"], 2, "promote status needs a database"),
    (["status", "none.db"], 3, "none.db: no such database"),
    (["status", "."], 2, ".: it is not a file"),
    (["status", "/dev/null"], 2, "/dev/null: it is not a file"),
    (["rejects", "DB", "a", "b"], 2, "one argument too many"),
])
def test_what_is_wrong_is_said(box, monkeypatch, arguments, code, words):
    store(box, {"/a/1": "{}"})
    box.sql("CREATE TABLE t(a)", db=box.path / "other.db")
    (box.path / "text").write_text("not a database " * 100)
    (box.path / "s.promote").write_text("-- holdfast:promote a prefix=/a/ key=/a/{id}\n-- col id TEXT key\n-- rest extra\n")
    names = {"DB": "app.db", "SPEC": "s.promote"}
    said = box.holdfast("promote", *[names.get(a, a) for a in arguments], code=code)
    assert words in said.err and not (box.path / "migrations").exists()
    assert (box.path / "text").read_text() == "not a database " * 100


def test_who_may_only_read_is_told_what_a_reader_needs(box):
    store(box, {"/a/1": "{}"}).close()
    box.for_nobody()
    os.chown(box.path, 0, 0)
    said = box.holdfast("promote", "status", "app.db", user=NOBODY, code=1)
    assert "app.db: it is in WAL mode, and this user may not write the files beside it" in said.err


def test_a_database_without_promotions_says_so(box):
    store(box, {})
    assert box.holdfast("promote", "status", "app.db").out == "no promotion is in it\n"
    assert json.loads(box.holdfast("promote", "rejects", "-json", "app.db").out) == []
    assert box.holdfast("promote", "status", "-json", "none.db", code=3).json == {
        "error": "none.db: no such database", "code": "not found"}


# ---- the document ----

SQLITE3 = """#!{python}
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as c:
    for row in c.execute(sys.argv[2]):
        print(*row, sep="|")
"""


def test_the_samples_of_the_document_run(box):
    text = (ROOT / "docs/promote.md").read_text()
    first, second = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    spec = "".join(re.findall(r"^    (-- .*\n|--- .*\n)", text.partition("```\n\nWhat `analyze` found")[2].partition("Then old keys")[0], re.M))
    (box.path / "bin").mkdir()
    (box.path / "bin/holdfast").symlink_to(COMMAND)
    (box.path / "bin/sqlite3").write_text(SQLITE3.format(python=sys.executable))
    (box.path / "bin/sqlite3").chmod(0o755)
    env = {**box.env(), "PATH": f"{box.path / 'bin'}:{os.environ['PATH']}"}
    said = [subprocess.run(["bash", "-ec", block], cwd=box.path, env=env, capture_output=True, text=True) for block in (first, second)]
    assert [s.returncode for s in said] == [0, 0], said
    assert (box.path / "node.promote").read_text().startswith(spec)
    out = said[1].stdout.splitlines()
    assert out[0:3] == ["None|1", "kim|1", "lee|1"] and "node  /node/4: the value is JSON, and not an object" in out[3], out
    value_now, = [line for line in out if line.startswith("{")]
    assert json.loads(value_now) == {"name": "one", "ip": "10.0.0.9", "user": {"name": "kim"}, "tags": [1]}
    assert out[-1].split() == ["node", "main", "table", "3", "3", "0", "/node/{id}"]
