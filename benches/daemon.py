#!/usr/bin/env python3
"""What `dlconf daemon` costs, and how fast it follows, beside floors of the same run.

    benches/daemon.py                         everything; about eight minutes
    benches/daemon.py --folder /dev/shm       where no disk is waited for
    benches/daemon.py --only latency          one part: latency, idle, generations
    benches/daemon.py --instructions          instructions and allocations of a change
    benches/daemon.py --binary FILE           measure this program instead

Latency: a new `.env` takes the place of the old one by a rename, and the time
is taken until inotify tells that the delivered file got its name. The floor, in
turn with it, is what no program can do without: the same bytes written beside
the delivered file, fsync, rename, fsync of the folder. Both are taken in this
process, so both carry its calls: what six empty calls of Python cost is printed.
The source is fsynced before the time begins, for that is its writer's wait, and
nothing else begins before the daemon says that it has delivered.

Idle: with two deliveries, the socket and the ops port, after five quiet seconds:
its anonymous memory (RssAnon), then its processor time, then its memory after a
thousand requests. The floor is a `sleep` beside it.

Generations: once, as fast as the daemon follows; memory, descriptors and threads
after a thousand and then at every tenth of them.

The others are done five times; a figure is the median, with the least and the
most. Exit 1 where one of these does not hold:

  - the median latency is at most 5 times its floor's, where there is a disk;
  - RssAnon is under 10 MiB, quiet and after the requests;
  - processor time is under 0.2 % of one core;
  - from the thousandth generation to the last, RssAnon grows by less than 1 MiB,
    descriptors not at all, and there are never more than 10 threads: its own, that
    of inotify, and up to eight that wait for disks (each leaves after five idle
    seconds).

A busy machine is slow for everyone, so that the 99th percentile of 20 ms gates
with --strict only.
"""

import argparse
import ctypes
import os
import re
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from openbao import memory
from speed import build, datalens_env, key

RATIO = 5.0
P99_MS = 20.0
RSS_MIB = 10.0
CPU_PERCENT = 0.2
GROWTH_MIB = 1.0

QUIET = 5  # seconds before memory is looked at
REQUESTS = 1000
SETTLED = 1000  # the generation from which on nothing may grow
THREADS = 2 + 8  # its own, that of inotify, and as many as it lets wait for disks

SMALL_SCHEMA = """schema_version = 1
name = "small"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[var.TOKEN]
type = "string"
secret = true
description = "One."
"""

SETTINGS = """environment = "production"
order = ["local"]
{schema}
[source.local]
type = "dotenv"
path = "in/.env"
[delivery.app]
type = "env-file"
path = "out/app.env"
[debounce]
min = "0s"
"""

MORE = """[delivery.folder]
type = "directory"
path = "out/folder"
[socket]
path = "dlconf.sock"
[ops]
listen = "127.0.0.1:0"
"""


class Case:
    """A schema, and the env file in which one value changes."""

    def __init__(self, name: str, changing: str, env: str, schema: str | None = None):
        self.name, self.changing, self.env, self.schema = name, changing, env, schema

    def text(self, turn: int) -> bytes:
        """The env file of one turn, always of the same length."""
        lines = (line for line in self.env.splitlines(keepends=True) if not line.startswith(f"{self.changing}="))
        return f"{''.join(lines)}{self.changing}={key(f'turn {turn}')}\n".encode()


CASES = [
    Case("small", "TOKEN", "", SMALL_SCHEMA),
    Case("DataLens", "SMTP_PASS", datalens_env()),
]


class Moves:
    """Waits for a name in a folder to be taken by a rename."""

    MOVED_TO = 0x80

    def __init__(self, folder: Path, name: str):
        self.library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.library.inotify_init1(os.O_CLOEXEC)
        self.name = name.encode()
        if self.library.inotify_add_watch(self.descriptor, bytes(folder), self.MOVED_TO) < 0:
            sys.exit(f"inotify: {os.strerror(ctypes.get_errno())}")

    def wait(self, seconds: float) -> int:
        """When it was; ends the bench if it was not."""
        while True:
            if not select.select([self.descriptor], [], [], seconds)[0]:
                sys.exit(f"{self.name.decode()} was not delivered in {seconds:g} s")
            events, now = os.read(self.descriptor, 4096), time.monotonic_ns()
            while events:
                length = struct.unpack_from("iIII", events)[3]
                if events[16 : 16 + length].rstrip(b"\0") == self.name:
                    return now
                events = events[16 + length :]

    def close(self) -> None:
        os.close(self.descriptor)


class Daemon:
    """A running `dlconf daemon` over a folder of its own; it ends with the `with`."""

    def __init__(self, program: list[str], case: Case, above: Path, settings: str = "", deliveries: int = 1):
        self.program, self.case, self.deliveries = program, case, deliveries
        self.temporary = tempfile.TemporaryDirectory(prefix="dlconf-bench.", dir=above)
        self.folder = Path(self.temporary.name)
        schema = ""
        if case.schema:
            (self.folder / "small.schema.toml").write_text(case.schema)
            schema = 'schema = "small.schema.toml"'
        (self.folder / "dlconf.toml").write_text(SETTINGS.format(schema=schema) + settings)
        for name in ("in", "out"):
            (self.folder / name).mkdir(mode=0o700)
        self.delivered = self.folder / "out" / "app.env"
        self.said: list[str] = []
        self.begun = b""
        self.turn = 0

    def __enter__(self) -> "Daemon":
        self.prepare()
        os.rename(self.folder / "in" / "next", self.folder / "in" / ".env")
        self.process = subprocess.Popen(
            [*self.program, "--config", "dlconf.toml", "daemon"],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self.process.pid
        self.told(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()
        self.temporary.cleanup()

    def prepare(self) -> None:
        """Writes the next `.env` beside the present one, down to the disk."""
        self.turn += 1
        descriptor = os.open(self.folder / "in" / "next", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, self.case.text(self.turn))
        os.fsync(descriptor)
        os.close(descriptor)

    def change(self) -> int:
        """Gives the next `.env` its name; when that began."""
        start = time.monotonic_ns()
        os.rename(self.folder / "in" / "next", self.folder / "in" / ".env")
        return start

    def line(self, seconds: float) -> str:
        """The next line that it says; none at its end, or when the time is over."""
        assert self.process.stderr
        descriptor = self.process.stderr.fileno()
        while b"\n" not in self.begun and select.select([descriptor], [], [], seconds)[0]:
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            self.begun += piece
        line, end, self.begun = self.begun.partition(b"\n")
        return (line + end).decode()

    def told(self, seconds: float = 30) -> None:
        """Reads what it says until every delivery has the next generation."""
        missing = self.deliveries
        while missing:
            line = self.line(seconds)
            self.said = [*self.said[-19:], line]
            if not line or line.startswith(("dlconf: warning", "dlconf: error")):
                sys.exit(f"the daemon does not follow change {self.turn}:\n{''.join(self.said)}")
            missing -= line.startswith("dlconf: delivery ")

    def has_followed(self) -> bool:
        """Whether what is delivered is what was given last."""
        return self.case.text(self.turn).splitlines()[-1] in self.delivered.read_bytes().splitlines()

    def ops(self) -> tuple[str, int]:
        """Where the ops port listens."""
        found = re.search(r"the ops port listens at \S*?([0-9.]+):(\d+)", "".join(self.said))
        return (found.group(1), int(found.group(2))) if found else sys.exit("the ops port does not listen")

    def helpers(self) -> list[int]:
        """The processes that it set aside."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def count(self, what: str) -> int:
        """How many `fd`s or `task`s it has."""
        return len(os.listdir(f"/proc/{self.pid}/{what}"))


def scheduled(pids: list[int]) -> tuple[float, int]:
    """Processor time in ms, and how often somebody was woken or made to wait."""
    busy = switches = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            busy += int((task / "schedstat").read_text().split()[0])
            found = re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())
            switches += sum(map(int, found))
    return busy / 1e6, switches


def floor(folder: Path, content: bytes) -> tuple[int, int]:
    """Replaces a file as anybody must; how long until it has its name, and until
    the disk keeps that."""
    above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    start = time.monotonic_ns()
    descriptor = os.open("floor.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=above)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.rename("floor.new", "floor", src_dir_fd=above, dst_dir_fd=above)
    named = time.monotonic_ns() - start
    os.fsync(above)
    kept = time.monotonic_ns() - start
    os.close(descriptor)
    os.close(above)
    return named, kept


def has_disk(folder: Path) -> bool:
    """Whether an fsync there has anything to wait for."""
    said = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
    return said.stdout.strip() not in ("tmpfs", "ramfs")


def six_calls() -> float:
    """What the calls of this language cost, in µs: six that do nothing."""
    times = []
    for _ in range(1000):
        start = time.monotonic_ns()
        for _ in range(6):
            os.getppid()
        times.append(time.monotonic_ns() - start)
    return statistics.median(times) / 1e3


def percentile(times: list[int], part: float) -> float:
    """In ms."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] / 1e6


def spread(values: list[float], unit: str, digits: int = 2) -> str:
    """The median, with the least and the most."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} {unit} ({least} to {most})"


class Gates:
    """What has to hold, and whether it does."""

    def __init__(self) -> None:
        self.failed = 0

    def judge(self, what: str, values: list[float], holds: Callable[[float], bool]) -> None:
        """Judges the median."""
        held = holds(statistics.median(values))
        print(f"  {'held  ' if held else 'FAILED'}  {what}")
        self.failed += not held


def latency(asked: argparse.Namespace, program: list[str], gates: Gates) -> None:
    figures: dict[str, dict[str, list[float]]] = {case.name: {} for case in CASES}
    for _ in range(asked.runs):
        for case in CASES:
            with Daemon(program, case, asked.folder) as daemon:
                moves = Moves(daemon.folder / "out", daemon.delivered.name)
                content = daemon.delivered.read_bytes()
                times: dict[str, list[int]] = {"ours": [], "told": [], "named": [], "floor": []}
                for _ in range(asked.changes):
                    daemon.prepare()
                    start = daemon.change()
                    times["ours"].append(moves.wait(30) - start)
                    daemon.told()
                    times["told"].append(time.monotonic_ns() - start)
                    named, kept = floor(daemon.folder / "out", content)
                    times["named"].append(named)
                    times["floor"].append(kept)
                if not daemon.has_followed():
                    sys.exit("what is delivered is not what was given last")
                moves.close()
            run = figures[case.name]
            for name, taken in times.items():
                for part in (0.5, 0.99):
                    run.setdefault(f"{name} {part}", []).append(percentile(taken, part))
            run.setdefault("ratio", []).append(run["ours 0.5"][-1] / run["floor 0.5"][-1])
    print(f"\nFile change to renamed file, {asked.changes} changes a run, in {asked.folder}")
    print(f"  (six empty calls of Python: {six_calls():.1f} µs)")
    labels = {
        "ours": "until the file has its name",
        "told": "  and the daemon has said so (the folder is fsynced)",
        "named": "floor until the file has its name",
        "floor": "  and the folder is fsynced",
    }
    for case in CASES:
        run = figures[case.name]
        print(f"  {case.name}")
        for name, label in labels.items():
            print(f"    {label:54}p50 {spread(run[f'{name} 0.5'], 'ms')}, p99 {spread(run[f'{name} 0.99'], 'ms')}")
        print(f"    {'p50 to the whole floor':54}{spread(run['ratio'], 'times')}")
        if has_disk(asked.folder):
            gates.judge(f"p50 at most {RATIO:g} times the floor", run["ratio"], lambda ratio: ratio <= RATIO)
        else:
            print("  not judged: here an fsync waits for nothing, and the floor is a few calls")
        if asked.strict:
            gates.judge(f"p99 under {P99_MS:g} ms", run["ours 0.99"], lambda p99: p99 < P99_MS)


def ask(address: tuple[str, int], path: str) -> None:
    """One request over a connection of its own."""
    with socket.create_connection(address, timeout=10) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"GET {path}: {answer[:200]!r}")


def idle(asked: argparse.Namespace, program: list[str], gates: Gates) -> None:
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for _ in range(asked.runs):
        with Daemon(program, CASES[-1], asked.folder, MORE, deliveries=2) as daemon:
            sleeper = subprocess.Popen(["/bin/sleep", "600"])
            time.sleep(QUIET)
            helpers = daemon.helpers()
            quiet = memory(daemon.pid)
            note("quiet", quiet["RssAnon"])
            note("resident", quiet["VmRSS"])
            note("helper", sum(memory(pid)["RssAnon"] for pid in helpers))
            note("floor", memory(sleeper.pid)["RssAnon"])
            sleeper.terminate()
            sleeper.wait()

            busy, switches = scheduled([daemon.pid, *helpers])
            time.sleep(asked.seconds)
            after = scheduled([daemon.pid, *helpers])
            note("cpu", (after[0] - busy) / asked.seconds / 10)
            note("switches", (after[1] - switches) / asked.seconds)

            for turn in range(REQUESTS):
                ask(daemon.ops(), "/metrics" if turn % 2 else "/")
            note("asked", memory(daemon.pid)["RssAnon"])
    print(f"\nIdle: DataLens, two deliveries, socket and ops port, in {asked.folder}")
    print(f"  RssAnon: {spread(figures['quiet'], 'MiB')}; a sleep has {spread(figures['floor'], 'MiB')}")
    print(f"    its helper: {spread(figures['helper'], 'MiB')}; VmRSS with the program's own pages: {spread(figures['resident'], 'MiB')}")
    print(f"    after {REQUESTS} requests of the page and the metrics: {spread(figures['asked'], 'MiB')}")
    gates.judge(f"RssAnon under {RSS_MIB:g} MiB", figures["quiet"], lambda size: size < RSS_MIB)
    gates.judge("the same after the requests", figures["asked"], lambda size: size < RSS_MIB)
    print(f"  processor in {asked.seconds} quiet s: {spread(figures['cpu'], '% of one core', 4)}")
    print(f"    woken {spread(figures['switches'], 'times a second', 1)}")
    gates.judge(f"under {CPU_PERCENT:g} % of one core", figures["cpu"], lambda percent: percent < CPU_PERCENT)


def generations(asked: argparse.Namespace, program: list[str], gates: Gates) -> None:
    print(f"\n{asked.generations} generations, {CASES[-1].name}, two deliveries, socket and ops port, in {asked.folder}")
    seen: list[tuple[int, float, int, int]] = []
    marks = [SETTLED, *(asked.generations * tenth // 10 for tenth in range(1, 11))]
    with Daemon(program, CASES[-1], asked.folder, MORE, deliveries=2) as daemon:
        began = time.monotonic()
        # The first generation was that of the start.
        for generation in range(2, asked.generations + 1):
            daemon.prepare()
            daemon.change()
            daemon.told()
            if generation in marks:
                size = memory(daemon.pid)["RssAnon"]
                seen.append((generation, size, daemon.count("fd"), daemon.count("task")))
                print("  after {:>6}: RssAnon {:.2f} MiB, {} descriptors, {} threads".format(*seen[-1]), flush=True)
        took = time.monotonic() - began
        last = f".{asked.generations}\n"
        if not daemon.has_followed() or not daemon.said[-1].endswith(last):
            sys.exit(f"it did not make as many generations as there were changes: {daemon.said[-1]}")
    print(f"  {took:.0f} s, {asked.generations / took:.0f} a second")
    first, *_, final = sorted(seen)
    growth = final[1] - first[1]
    gates.judge(f"RssAnon grows by less than {GROWTH_MIB:g} MiB: {growth:.2f}", [growth], lambda grown: grown < GROWTH_MIB)
    more = final[2] - first[2]
    gates.judge(f"descriptors do not grow: {more}", [more], lambda grown: grown <= 0)
    most = max(threads for *_, threads in seen)
    gates.judge(f"at most {THREADS} threads: {most}", [most], lambda threads: threads <= THREADS)


def instructions(asked: argparse.Namespace, program: list[str]) -> None:
    """As valgrind counts them: the difference of two runs, one of twice the changes."""
    counter = shutil.which("valgrind") or sys.exit("install valgrind first")
    print("\nA change, from notice to delivery, as valgrind counts")
    for case in CASES:
        counts: dict[str, list[int]] = {"callgrind": [], "memcheck": []}
        for tool, pattern in (("callgrind", r"Collected : (\d+)"), ("memcheck", r"total heap usage: ([\d,]+) allocs")):
            for changes in (asked.changes, 2 * asked.changes):
                with tempfile.NamedTemporaryFile() as log:
                    options = ["--callgrind-out-file=/dev/null"] if tool == "callgrind" else ["--undef-value-errors=no"]
                    valgrind = [counter, f"--tool={tool}", f"--log-file={log.name}", *options, "--", *program]
                    with Daemon(valgrind, case, asked.folder) as daemon:
                        for _ in range(changes):
                            daemon.prepare()
                            daemon.change()
                            daemon.told()
                    # The process that it sets aside is counted apart, and does nothing.
                    found = re.findall(pattern, Path(log.name).read_text()) or sys.exit("valgrind said no count")
                    counts[tool].append(max(int(count.replace(",", "")) for count in found))
        each = {tool: (twice - once) / asked.changes for tool, (once, twice) in counts.items()}
        print(f"  {case.name}: {each['callgrind'] / 1e6:.2f} M instructions, {each['memcheck']:.0f} allocations")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--only", choices=["latency", "idle", "generations"], help="one part")
    arguments.add_argument("--instructions", action="store_true", help="valgrind's counts, and nothing else")
    arguments.add_argument("--strict", action="store_true", help=f"gate the 99th percentile as well: {P99_MS:g} ms")
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where everything is written")
    arguments.add_argument("--changes", type=int, default=200, help="changes in a run (200)")
    arguments.add_argument("--generations", type=int, default=100_000)
    arguments.add_argument("--seconds", type=int, default=30, help="how long nothing happens (30)")
    arguments.add_argument("--runs", type=int, default=5, help="(5)")
    arguments.add_argument("--binary", type=Path, help="measure this program instead")
    asked = arguments.parse_args()
    program = [str(asked.binary.resolve() if asked.binary else build(static=False))]
    gates = Gates()
    if asked.instructions:
        instructions(asked, program)
    for part in (latency, idle, generations):
        if not asked.instructions and asked.only in (None, part.__name__):
            part(asked, program, gates)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if gates.failed:
        sys.exit(f"{gates.failed} did not hold")


if __name__ == "__main__":
    main()
