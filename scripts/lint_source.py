"""The rules of the house that no compiler knows. Prints each breach, exits 1 if there is one.

  arrows      an #include "room/..." points down the list of rooms or stays in its room
  system      only os/, daemon/ and cli/ include the system's headers; the exceptions stand below, with a reason
  forbidden   functions that cannot be used safely, or that belong to os/
  size        no file over 700 lines, no line over 100 columns; base to source at most 9,000 lines of code,
              the client of S3 in object/ at most 2,360 besides
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each room and what it may include; docs/design.md "the rooms".
ROOMS = {
    "base": [],
    "os": ["base"],
    "format": ["base"],
    "object": ["base", "os"],
    "replica": ["base", "os", "format", "object"],
    "source": ["base", "os", "format", "object", "replica"],
    "store": ["base", "os", "format", "object", "replica", "source"],
    "daemon": ["base", "os", "format", "object", "replica", "source", "store"],
    "schema": ["base", "os", "format", "object", "replica", "source", "store", "daemon"],
    "promote": ["base", "os", "store", "schema"],
    "ext": ["base", "os", "format", "source", "store", "daemon", "schema"],
    "cli": ["base", "os", "format", "object", "replica", "source", "store", "daemon", "schema", "promote"],
}
WITH_DOOR = {"store", "daemon", "schema", "promote", "ext", "cli"}  # these know include/holdfast.h
CORE = ["base", "os", "format", "object", "replica", "source"]
CORE_LINES_MAX = 9000
# What Amazon's interfaces ask of a client, and of nothing else here: read apart, and counted apart.
CLIENT = {"object/" + name for name in """credentials.c credentials.h http.c http.h profile.c profile.h s3.c s3_call.c
s3_call.h s3_upload.c s3_url.c s3_url.h s3_xml.c s3_xml.h sigv4.c sigv4.h""".split()}
CLIENT_LINES_MAX = 2360
FILE_LINES_MAX = 700
COLUMNS_MAX = 100

# Headers that any room may include: the C library's own computing, and the format's libraries.
EVERYWHERE = set("""ctype.h errno.h inttypes.h limits.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h
stdio.h stdlib.h stdnoreturn.h string.h strings.h isa-l/crc64.h jansson.h lz4.h lz4frame.h sqlite3.h""".split())
# Libraries that one room alone may use.
OF_A_ROOM = {"object": ("curl/curl.h", "openssl/", "expat.h")}
WITH_SYSTEM = {"os", "cli", "daemon"}
EXCEPTIONS = {
    "ext/api.h": {"sqlite3ext.h"},  # in place of sqlite3.h
    "ext/beside.c": {"dlfcn.h"},  # is the library in this process?
    "object/credentials.c": {"pthread.h"},  # one thread asks for all
    "object/http.c": {"pthread.h"},  # a stack of connections for all threads
    "object/s3_call.h": {"pthread.h"},  # region and clock are found out by any thread
    "object/s3_xml.c": {"time.h"},  # times in words; the clock is not asked, here and below
    "object/sigv4.c": {"time.h"},
    "store/kv_watch.c": {"pthread.h", "signal.h"},  # one thread calls back, and takes no signals
    "source/barrier.c": {"pthread.h"},  # any thread may come to wait
    "store/parts.h": {"pthread.h"},  # a store is used by any thread
    "store/inherited.c": {"pthread.h"},
    "store/queue.c": {"time.h"},  # the form of a deadline; the clock is not asked
    "store/process.c": {"pthread.h"},  # what a process has once, and forks
    "store/runner.h": {"pthread.h"},  # a thread that others wait for
    "store/runner.c": {"signal.h", "sys/prctl.h"},  # it takes no signals, and wakes in time
    "store/fake.c": {"pthread.h"},  # told by one thread, asked by others
    "store/mem.c": {"pthread.h"},
    "store/restore.c": {"pthread.h"},  # what a process has restored
    "schema/lock.c": {"fcntl.h", "sys/stat.h", "unistd.h"},  # kernel locks on one byte of a file
    "schema/set.c": {"sys/stat.h", "time.h"},  # a version is the time in words; a new file is as open as its directory
    "base/log.c": {"time.h", "unistd.h"},  # a line for a person carries the time; nothing is decided by it
    "replica/plan.c": {"time.h"},  # a time in the words of an error; the clock is not asked
}

UNSAFE = """strcpy strcat stpcpy sprintf vsprintf gets atoi atol atoll atof system popen strtok alloca
tmpnam mktemp tempnam localtime gmtime ctime asctime rand srand""".split()
OF_THE_SYSTEM = """getenv secure_getenv fopen fdopen freopen remove rename exit abort _exit time clock
clock_gettime gettimeofday nanosleep usleep sleep""".split()
SYSTEM_EXCEPTIONS = {
    "object/http.c": {"curl/curl.h", "pthread.h"},  # a stack of connections for all threads
    "object/sigv4.c": {"openssl/crypto.h", "openssl/evp.h", "openssl/hmac.h", "time.h"},  # a time in words
    "object/s3.c": {"curl/curl.h", "openssl/evp.h", "pthread.h"},  # curl reads HTTP's dates
    "object/s3_xml.c": {"expat.h", "time.h"},
    "base/log.c": {"clock_gettime"},
    "base/rc.c": {"abort"},  # ENSURE: a programmer's error, kept in release
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def code_of(text):
    """Without comments, and with empty strings; the lines stay where they are."""
    def blank(match):
        token = match.group()
        return '""' if token[0] == '"' else "0" if token[0] == "'" else "\n" * token.count("\n") or " "
    return COMMENT_OR_STRING.sub(blank, text)


def includes(room, name, text, breaches):
    for kind, header in INCLUDE.findall(text):
        if kind == '"' and header == "holdfast.h" and room in WITH_DOOR:
            continue
        if kind == '"':
            other = header.split("/")[0]
            if other != room and other not in ROOMS[room]:
                breaches.append(f'{name}: includes "{header}": {room}/ may only include {ROOMS[room]}')
        elif header not in EVERYWHERE and room not in WITH_SYSTEM:
            if header not in EXCEPTIONS.get(name, ()) and not header.startswith(OF_A_ROOM.get(room, ())):
                breaches.append(f"{name}: includes <{header}>: only os/, daemon/ and cli/ may ask the system")


def calls(room, name, code, breaches):
    banned = set(UNSAFE)
    if room not in WITH_SYSTEM:
        banned |= set(OF_THE_SYSTEM) - SYSTEM_EXCEPTIONS.get(name, set())
    for number, line in enumerate(code.splitlines(), 1):
        for match in re.finditer(r"(?<![\w.>])([a-z_]+)\s*\(", line):
            if match.group(1) in banned:
                breaches.append(f"{name}:{number}: calls {match.group(1)}()")


def sizes(name, text, breaches):
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX:
        breaches.append(f"{name}: {len(lines)} lines; at most {FILE_LINES_MAX}")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            breaches.append(f"{name}:{number}: {len(line)} columns; at most {COLUMNS_MAX}")


def main():
    breaches, core, client = [], 0, 0
    for room in sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir()):
        if room not in ROOMS:
            breaches.append(f"src/{room}: not one of the rooms {list(ROOMS)}")
            continue
        for path in sorted((ROOT / "src" / room).glob("**/*.[ch]")):
            name, text = f"{room}/{path.name}", path.read_text()
            code = code_of(text)
            includes(room, name, text, breaches)
            calls(room, name, code, breaches)
            sizes(name, text, breaches)
            lines = sum(1 for line in code.splitlines() if line.strip())
            if name in CLIENT:
                client += lines
            elif room in CORE:
                core += lines
    for path in sorted(ROOT.glob("tests/**/*.[ch]")):
        sizes(str(path.relative_to(ROOT)), path.read_text(), breaches)
    if core > CORE_LINES_MAX:
        breaches.append(f"base to source: {core} lines of code; at most {CORE_LINES_MAX}")
    if client > CLIENT_LINES_MAX:
        breaches.append(f"the client of S3: {client} lines of code; at most {CLIENT_LINES_MAX}")
    for breach in breaches:
        print(f"lint: {breach}", file=sys.stderr)
    print(f"lint: {len(breaches)} breaches of the rooms' rules; the core has {core} lines of code, its client of S3 {client}")
    return 1 if breaches else 0


sys.exit(main())
