#!/usr/bin/env python3
"""The daemon's socket under load, beside bare servers in the same run.

    benches/socket_load.py                         everything; about three minutes
    benches/socket_load.py --only asked            one part: asked, told, held
    benches/socket_load.py --folder /dev/shm       where no disk is waited for (the audit log)
    benches/socket_load.py --binary FILE           measure this program instead

Clients and floors are one small program (socket_load.rs): its clients share the two
cores with the server, so they do as little as they can, and the same for both.
The floors have one thread, as the daemon has, the system's allocator and no
deadlines; they are optimised like the release, but not across crates.

Asked: `GET /v1/config` with 50 variables, as fast as it is answered, over 1, 16
and 64 connections that stay open. The floor is a bare axum handler that gives the
same bytes. The daemon is there twice, without and with an audit log. One
connection's client is on the server's processor: else it is measured how long an
idle one sleeps.

Told: 1,000 watchers in one process; a new `.env` takes the place of the old one
by a rename, and the time is taken until the last byte of the event is at each of
them. The floor is a bare broadcast of the same bytes, upon the same rename.
`[debounce] min` is `"0s"`; beside it stands the default of 50 ms.

Held: another user opens 10,000 connections, says nothing or half a head, and
opens again what is closed, 100,000 times at most. Beside it somebody asks a
thousand times a second, every other time over a new connection.

Each is done five times, in turn with its floor; a figure is the median, with the
least and the most. Exit 1 where one of these does not hold:

  - without an audit log, at least half the floor's requests a second;
  - with one, at least 5,000 requests a second;
  - over one connection, p50 is at most twice the floor's;
  - the p99 of 1,000 watchers is under 100 ms, and RssAnon under 40 MiB with them;
  - who asks beside 10,000 half-open connections is never refused, p99 of all that
    is asked is within 5 times that of quiet times, and the daemon has as many descriptors afterwards
    as before.

The last needs two users, so it is left out unless this is run by root. A busy
machine is slow for everyone: its ratio to quiet times, which are other seconds,
gates with --strict only.
"""

import argparse
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon import Gates, scheduled, spread
from openbao import ROOT, memory
from speed import build, key

VARIABLES = 50
CONNECTIONS = (1, 16, 64)

THROUGHPUT = 0.5
AUDITED = 5000
P50 = 2.0

WATCHERS = 1000
WATCHERS_P99_MS = 100.0
WATCHERS_MIB = 40.0

HALF_OPEN = 10_000
ATTEMPTS = 100_000
BESIDE = 5.0
OTHER_USER = 20001

SCHEMA = """schema_version = 1
name = "socket"
environments = { variable = "APP_ENV", names = ["development", "production"] }
"""

VARIABLE = """[var.{name}]
type = "string"
secret = true
description = "One."
"""

SETTINGS = """environment = "production"
schema = "schema.toml"
order = ["local"]
[source.local]
type = "dotenv"
path = "in/.env"
[socket]
path = "run/dlconf.sock"
mode = "0666"
{policy}
[debounce]
min = "{debounce}"
"""

POLICY = """[[allow]]
uid = {uid}
vars = ["*"]
actions = ["read", "watch"]
[[allow]]
uid = {other}
vars = ["VARIABLE_1*"]
actions = ["read"]
"""

AUDIT = """[audit]
path = "audit.jsonl"
key_file = "audit.key"
"""


def names() -> list[str]:
    return [f"VARIABLE_{number}" for number in range(1, VARIABLES)]


def program() -> Path:
    """socket_load.rs, built if it is not."""
    built = subprocess.run(
        ["cargo", "build", "--locked", "--profile=load", "--bench=socket_load", "--message-format=json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    found = (m["executable"] for m in messages if m.get("target", {}).get("name") == "socket_load")
    return Path(next(filter(None, found)))


class Running:
    """A process that is told to end by the end of its input, or by a signal."""

    def __init__(self, argv: list[str | Path], **more: object):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)
        self.pid = self.process.pid

    def line(self, seconds: float = 30) -> str:
        """The next line that it says."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            sys.exit(f"{self.process.args} said nothing in {seconds:g} s")
        return self.process.stdout.readline().strip() or sys.exit(f"{self.process.args} ended")

    def ready(self) -> "Running":
        line = self.line()
        return self if line == "ready" else sys.exit(f"it said {line}")

    def say(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """The rest of what it says."""
        try:
            return self.process.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[0]

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()


class Daemon:
    """A running `dlconf daemon` over a folder of its own; it ends with the `with`."""

    def __init__(self, argv: list[str], above: Path, policy: bool, audit: bool = False, debounce: str = "0s"):
        self.argv = argv
        self.temporary = tempfile.TemporaryDirectory(prefix="dlconf-bench.", dir=above)
        self.folder = Path(self.temporary.name)
        self.socket = self.folder / "run" / "dlconf.sock"
        self.folder.chmod(0o711)
        for name, mode in (("in", 0o700), ("run", 0o755)):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(mode)
        settings = SETTINGS.format(policy='policy = "access.toml"' if policy else "", debounce=debounce)
        (self.folder / "dlconf.toml").write_text(settings + (AUDIT if audit else ""))
        (self.folder / "schema.toml").write_text(SCHEMA + "".join(VARIABLE.format(name=name) for name in names()))
        (self.folder / "access.toml").write_text(POLICY.format(uid=os.geteuid(), other=OTHER_USER))
        (self.folder / "audit.key").write_text(key("audit") + "\n")
        (self.folder / "audit.key").chmod(0o600)
        self.turn = 0

    def __enter__(self) -> "Daemon":
        self.prepare()
        os.rename(self.folder / "in" / "next", self.folder / "in" / ".env")
        self.said = open(self.folder / "said", "w+")
        self.process = subprocess.Popen(
            [*self.argv, "--config", "dlconf.toml", "daemon"],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.said,
        )
        self.pid = self.process.pid
        for _ in range(600):
            if self.socket.exists() and "published" in (self.folder / "said").read_text():
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"the daemon does not listen:\n{(self.folder / 'said').read_text()}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()
        self.temporary.cleanup()

    def prepare(self, place: Path | None = None) -> None:
        """Writes the next `.env` beside the present one."""
        self.turn += 1
        values = [f"{name}={key(name)[:40]}\n" for name in names()[1:]]
        changing = f"{names()[0]}={key(f'turn {self.turn}')[:40]}\n"
        path = (place or self.folder / "in") / "next"
        path.touch(mode=0o600)
        path.write_text("".join([changing, *values]))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def event(self) -> bytes:
        """The first event of `GET /v1/watch`."""
        version = json.loads(self.answer())["version"]
        data = json.dumps({"version": version, "changed": [names()[0]]}, separators=(",", ":"))
        return f"id: {version}\ndata: {data}\n\n".encode()

    def answer(self) -> bytes:
        """The body of `GET /v1/config`."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.socket))
            stream.sendall(b"GET /v1/config HTTP/1.1\r\nhost: dlconf\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or body.count(b"VARIABLE_") != VARIABLES - 1:
            sys.exit(f"this is not what was asked for: {answer[:400]!r}")
        return body


def per_request(pid: int, tool: list[str | Path]) -> dict[str, float]:
    """What a client found, and the server's processor time for each request."""
    before, _ = scheduled([pid])
    with Running(tool) as client:
        found = json.loads(client.end())
    after, _ = scheduled([pid])
    return found | {"cpu": (after - before) * 1e3 / found["requests"]}


@contextmanager
def together(pid: int, wanted: bool) -> Iterator[list[str]]:
    """Puts a server on one processor, and gives what puts its client there too. One
    request at a time is else a measure of how long an idle processor sleeps."""
    if not wanted:
        yield []
        return
    before = os.sched_getaffinity(pid)
    one = min(before)
    os.sched_setaffinity(pid, {one})
    try:
        yield ["taskset", "--cpu-list", str(one)]
    finally:
        os.sched_setaffinity(pid, before)


class Table(dict[str, list[float]]):
    """Figures by name, one of each run."""

    def note(self, name: str, value: float) -> None:
        self.setdefault(name, []).append(value)


def asked(arguments: argparse.Namespace, argv: list[str], bench: Path, gates: Gates) -> None:
    figures: dict[tuple[str, int], Table] = {}
    with ExitStack() as stack:
        servers: dict[str, tuple[int, Path]] = {}
        for name, audit in (("without audit", False), ("with audit", True)):
            daemon = stack.enter_context(Daemon(argv, arguments.folder, arguments.policy, audit))
            servers[name] = (daemon.pid, daemon.socket)
        body = daemon.answer()
        (daemon.folder / "answer").write_bytes(body)
        bare = daemon.folder / "bare.sock"
        floor = stack.enter_context(Running([bench, "bare", bare, daemon.folder / "answer"])).ready()
        servers = {"bare axum": (floor.pid, bare), **servers}
        for _ in range(arguments.runs):
            for count in CONNECTIONS:
                for name, (pid, at) in servers.items():
                    with together(pid, count == 1) as prefix:
                        found = per_request(pid, [*prefix, bench, "ask", at, str(count), str(arguments.seconds)])
                    table = figures.setdefault((name, count), Table())
                    for what, value in found.items():
                        table.note(what, value)
                    lowest = figures["bare axum", count]
                    for what in ("rate", "p50"):
                        table.note(f"{what} ratio", table[what][-1] / lowest[what][-1])
    print(f"\nGET /v1/config, {VARIABLES} variables ({len(body)} bytes), {arguments.seconds:g} s each, in {arguments.folder}")
    for (name, count), table in figures.items():
        print(f"  {name}, {count} connections")
        print(f"    requests/s {spread(table['rate'], '', 0)}, to the floor's {spread(table['rate ratio'], '')}")
        for what in ("p50", "p99"):
            print(f"    {what} {spread(table[what], 'µs', 1)}")
        print(f"    p50 to the floor's {spread(table['p50 ratio'], '')}; processor {spread(table['cpu'], 'µs a request', 1)}")
    for count in CONNECTIONS:
        off, on = figures["without audit", count], figures["with audit", count]
        more = {what: [b - a for a, b in zip(off[what], on[what], strict=True)] for what in ("cpu", "p50")}
        print(f"  audit, {count} connections: {spread(on['rate'], 'records/s', 0)}; a record costs "
              f"{spread(more['cpu'], 'µs of processor', 1)} and {spread(more['p50'], 'µs of p50', 1)}")
    for count in CONNECTIONS:
        ratio = figures["without audit", count]["rate ratio"]
        gates.judge(f"{count} connections: at least {THROUGHPUT} of the floor's requests", ratio, lambda r: r >= THROUGHPUT)
        rate = figures["with audit", count]["rate"]
        gates.judge(f"{count} connections: with audit at least {AUDITED} requests/s", rate, lambda r: r >= AUDITED)
    ratio = figures["without audit", 1]["p50 ratio"]
    gates.judge(f"1 connection: p50 at most {P50:g} times the floor's", ratio, lambda r: r <= P50)


def told(arguments: argparse.Namespace, argv: list[str], bench: Path, gates: Gates) -> None:
    figures: dict[str, Table] = {}
    for _ in range(arguments.runs):
        for name, debounce in (("bare broadcast", None), ("no debounce", "0s"), ("50ms of debounce", "50ms")):
            table = figures.setdefault(name, Table())
            with ExitStack() as stack:
                daemon = stack.enter_context(Daemon(argv, arguments.folder, arguments.policy, debounce=debounce or "0s"))
                server, at = daemon.pid, daemon.socket
                place = daemon.folder / "in"
                if debounce is None:
                    # Its own folder, so that the daemon beside it has nothing to do.
                    place = daemon.folder / "beside"
                    place.mkdir()
                    (daemon.folder / "event").write_bytes(daemon.event())
                    at = daemon.folder / "bare.sock"
                    floor = Running([bench, "tell", at, place / ".env", daemon.folder / "event"])
                    server = stack.enter_context(floor).ready().pid
                before = memory(server)["RssAnon"]
                argv_of_watch = [bench, "watch", at, str(WATCHERS), place / "next", place / ".env"]
                client = stack.enter_context(Running(argv_of_watch)).ready()
                size = memory(server)["RssAnon"]
                table.note("size", size)
                table.note("each", (size - before) * 1024 / WATCHERS)
                busy, _ = scheduled([server])
                times: list[float] = []
                for _ in range(arguments.changes):
                    daemon.prepare(place)
                    client.say()
                    times += json.loads(client.line())
                    # What a change of the file system leaves behind is over by then.
                    time.sleep(0.02)
                after, _ = scheduled([server])
                table.note("cpu", (after - busy) / arguments.changes)
                times.sort()
                for what, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                    table.note(what, times[min(len(times) - 1, int(len(times) * part))] / 1e3)
                table.note("size after", memory(server)["RssAnon"])
    print(f"\nA file change told to {WATCHERS} watchers, {arguments.changes} changes a run, in {arguments.folder}")
    for name, table in figures.items():
        print(f"  {name}")
        print(f"    p50 {spread(table['p50'], 'ms')}, p99 {spread(table['p99'], 'ms')}, last {spread(table['max'], 'ms')}")
        print(f"    processor {spread(table['cpu'], 'ms a change')}; RssAnon {spread(table['size'], 'MiB')}, "
              f"{spread(table['each'], 'KiB a watcher', 1)}, after the changes {spread(table['size after'], 'MiB')}")
    for name in ("no debounce", "50ms of debounce"):
        table = figures[name]
        gates.judge(f"{name}: p99 under {WATCHERS_P99_MS:g} ms", table["p99"], lambda p99: p99 < WATCHERS_P99_MS)
        gates.judge(f"{name}: RssAnon under {WATCHERS_MIB:g} MiB", table["size after"], lambda size: size < WATCHERS_MIB)


def held(arguments: argparse.Namespace, argv: list[str], bench: Path, gates: Gates) -> None:
    if os.geteuid() != 0:
        print("\nHeld: left out, for it needs a second user and only root has one")
        return
    figures = Table()
    for _ in range(arguments.runs):
        with Daemon(argv, arguments.folder, arguments.policy) as daemon:
            # Another user must be able to run it.
            tool = daemon.folder / "run" / "socket_load"
            shutil.copy(bench, tool)
            tool.chmod(0o755)
            pace = [tool, "pace", daemon.socket, str(arguments.beside)]
            # The daemon is measured, not who gets the processor.
            limit = ["chrt", "--idle", "0", "prlimit", f"--nofile={HALF_OPEN + 1000}"]
            other = [*limit, "setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"]
            with Running(pace) as client:
                json.loads(client.end())
            baseline = daemon.descriptors()
            busy, _ = scheduled([daemon.pid])
            with Running(pace) as client:
                quiet = json.loads(client.end())
            between, _ = scheduled([daemon.pid])
            holder = Running([*other, tool, "hold", daemon.socket, str(HALF_OPEN), str(ATTEMPTS)])
            with holder, Running(pace) as client:
                time.sleep(arguments.beside / 2)
                most = daemon.descriptors()
                beside = json.loads(client.end())
                after, _ = scheduled([daemon.pid])
                flood = json.loads(holder.end().splitlines()[-1])
            until = time.monotonic() + 10
            while daemon.descriptors() > baseline and time.monotonic() < until:
                time.sleep(0.05)
            figures.note("left", daemon.descriptors() - baseline)
            figures.note("descriptors", most)
            figures.note("refused", beside["refused"] + quiet["refused"])
            figures.note("cpu quiet", (between - busy) / arguments.beside / 10)
            figures.note("cpu beside", (after - between) / arguments.beside / 10)
            for way in ("all", "kept", "new"):
                for what in ("p50", "p99", "max"):
                    figures.note(f"{way} {what} quiet", quiet[way][what])
                    figures.note(f"{way} {what} beside", beside[way][what])
                figures.note(f"{way} ratio", beside[way]["p99"] / quiet[way]["p99"])
            for what, value in flood.items():
                figures.note(f"other {what}", value)
    print(f"\n1,000 requests a second for {arguments.beside:g} s, quiet and beside {HALF_OPEN} half-open connections of another user")
    ways = (("all", "all requests"), ("kept", "those over an open connection"), ("new", "those over a new one each"))
    for way, label in ways:
        print(f"  {label}")
        for when in ("quiet", "beside"):
            parts = [f"{what} {spread(figures[f'{way} {what} {when}'], 'µs', 0)}" for what in ("p50", "p99", "max")]
            print(f"    {when:8}{', '.join(parts)}")
        print(f"    p99 to that of quiet times {spread(figures[f'{way} ratio'], '')}")
    print(f"  processor: quiet {spread(figures['cpu quiet'], '% of one core', 1)}, beside {spread(figures['cpu beside'], '% of one core', 1)}")
    print(f"  the other user opened {spread(figures['other attempts'], '', 0)}, had {spread(figures['other most'], '', 0)} open at once, "
          f"{spread(figures['other closed'], '', 0)} were closed")
    print(f"  descriptors of the daemon: {spread(figures['descriptors'], '', 0)} at most; left afterwards {spread(figures['left'], '', 0)}")
    gates.judge("nobody else is refused", [max(figures["refused"])], lambda refused: refused == 0)
    gates.judge("descriptors are as many as before", [max(figures["left"])], lambda left: left <= 0)
    if arguments.strict:
        gates.judge(f"p99 within {BESIDE:g} times", figures["all ratio"], lambda ratio: ratio <= BESIDE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", choices=["asked", "told", "held"], help="one part")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where everything is written")
    parser.add_argument("--seconds", type=float, default=0.7, help="of each load (0.7)")
    parser.add_argument("--changes", type=int, default=20, help="told to all in a run (20)")
    parser.add_argument("--beside", type=float, default=4.0, help="seconds of requests beside half-open connections (4)")
    parser.add_argument("--strict", action="store_true", help="gate the ratio to quiet times as well")
    parser.add_argument("--runs", type=int, default=5, help="(5)")
    parser.add_argument("--no-policy", dest="policy", action="store_false", help="only the daemon's own user may ask")
    parser.add_argument("--tool", type=Path, help="the built socket_load.rs, instead of building it")
    parser.add_argument("--binary", type=Path, help="measure this program instead")
    arguments = parser.parse_args()
    argv = [str(arguments.binary.resolve() if arguments.binary else build(static=False))]
    bench = arguments.tool or program()
    gates = Gates()
    for part in (asked, told, held):
        if arguments.only in (None, part.__name__):
            part(arguments, argv, bench, gates)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if gates.failed:
        sys.exit(f"{gates.failed} did not hold")


if __name__ == "__main__":
    main()
