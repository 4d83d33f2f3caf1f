"""What the tests of holdfast promote share: values that are awkward, a judge of JSON that shares nothing with SQLite, and the
sections of a migration."""
import json
import re

SPEC = """-- holdfast:promote node prefix=/node/ key=/node/{id}
-- col id TEXT key
-- col name TEXT $.name notnull
-- col ip TEXT $.ip index
-- col up BOOL $.up
-- col load REAL $.load
-- col seen INT $.seen
-- col user_name TEXT $.user.name
-- col order TEXT $."the order"
-- rest extra
"""
MEMBERS = ["name", "ip", "up", "load", "seen", "user", "the order"]
COLUMNS = 'name, ip, up, load, seen, user_name, "order"'
HIGHEST = "\U0010ffff"

# As texts of JSON: what only a text tells apart is what breaks.
AWKWARD = [
    "null", "true", "false", "0", "-0", "1", "5.0", "-0.0", "0.1", "1e300", "1e-320", "1e999", "1E5", "123456789012",
    "9223372036854775807", "9223372036854775808", "12345678901234567890", "-9223372036854775808", "9007199254740993",
    "0.30000000000000004", '"x"', '""', r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"\ud83d\ude00"', '"ü€😀"', r'"\\u0000"',
    r'"q\"q"', '"it\'s"', r'"\n"', "[]", "{}", "[1,2]", '{"name":"deep"}', '{"name":null}', '{"name":5}',
    '{"name":"a","name":"b"}', r'{"n\u0061me":"z"}', '{"the name":{"a":[{}]}}',
]
NO_OBJECTS = ["", "nope", "{", "[1]", "5", '"x"', "null", None, b"\x00\x01", b'{"name":"x"}', '{"name":"x"}\0junk', 5, 1.5]


def awkward(r):
    number = r.choice([str(r.randrange(-1000, 1000)), repr(r.uniform(-1e6, 1e6)),
                       repr(r.uniform(-1, 1) * 10 ** r.randrange(-300, 300))])
    return r.choice([*AWKWARD, number, f'"{r.randrange(100)}"'])


def member(r, name):
    """Most are as the spec has them."""
    likely = {
        "name": lambda: f'"n{r.randrange(5)}"', "ip": lambda: f'"10.{r.randrange(5)}"',
        "up": lambda: r.choice(["true", "false"]), "load": lambda: repr(r.uniform(0, 100)),
        "seen": lambda: str(r.randrange(1000)),
        "user": lambda: r.choice(["{}", '{"name":"u"}', '{"name":"u","id":12345678901234567890}']),
    }
    return awkward(r) if name not in likely or r.random() < 0.1 else likely[name]()


def value(r):
    if r.random() < 0.03:
        return r.choice(NO_OBJECTS)
    members = [(n, member(r, n)) for n in MEMBERS if n == "name" or r.random() < 0.6]
    if r.random() < 0.3:
        members.append((r.choice([*MEMBERS, "else", "ip2", r"n\u0061me"]), awkward(r)))
    if r.random() < 0.5:
        r.shuffle(members)
    blank = r.choice(["", " ", "\n  "])
    return "{" + ",".join(f'{blank}"{n}":{blank}{v}' for n, v in members) + "}"


def pairs(members):
    """Of a member that is there twice, both."""
    all_of = {}
    for name, v in members:
        all_of.setdefault(name, []).append(v)
    return {name: v[0] if len(v) == 1 else ("twice", v) for name, v in all_of.items()}


def loads(text):
    return json.loads(text, object_pairs_hook=pairs)


def same(a, b):
    """Equal as JSON: 5 and 5.0 are one number, 1 and true are not; integers of any size are told apart."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a == b


def sections(text):
    """{"expand": [text, ...], ...}; of an ordinary migration "up", and what is behind its "down"."""
    parts, name = {}, "up"
    for line in text.splitlines(keepends=True):
        directive = re.match(r"-- holdfast:(\w+)", line)
        if directive:
            name = directive.group(1)
            parts.setdefault(name, []).append("")
        else:
            parts.setdefault(name, [""])[-1] += line
    return parts


def run_section(c, text):
    c.executescript(f"BEGIN; {text}; COMMIT;")


def run_up(c, parts):
    """All of a migration, without pacing and gates; what it would wait for must hold."""
    for kind in ("up", "expand", "sync"):
        for text in parts.get(kind, []):
            run_section(c, text)
    for text in parts.get("backfill", []):
        c.execute(text, {"lo": "", "hi": HIGHEST})
    for text in parts.get("verify", []):
        for query in text.split(";")[:-1]:
            assert query.startswith("--") or c.execute(query).fetchone() == (0,), query
    for text in parts.get("contract", []):
        run_section(c, text)
