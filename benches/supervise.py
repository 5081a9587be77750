#!/usr/bin/env python3
"""What `run --watch` costs, beside floors of the same run.

    benches/supervise.py                  all parts; about three minutes
    benches/supervise.py --only start     one part: start, change, memory
    benches/supervise.py --instructions   and instruction counts of a start, by valgrind
    benches/supervise.py --binary FILE    measure this program instead

Start: `run --watch -- /bin/true` over an env file of sixty lines, from the spawn to
its end, in turn with a bare `/bin/true` and with `run -- /bin/true`, which becomes
the program instead of staying.

Change: a new `.env` is renamed over the old one until the program that was started
with it says so through a pipe. The program is a shell that writes a line and then
sleeps as one process. The floor, in turn with each change: this script ends such a
shell and starts another one, which nobody can do without.

Memory: RssAnon of the supervisor five quiet seconds after the start, and after two
hundred restarts (thirty over OpenBao, which is asked once a second): over an env file, over OpenBao with a token, over a daemon's socket,
and over an env file with `--healthy http://…`.

A figure is the median of five batches, with the least and the most. Exit 1 where a
start takes 10 ms more than a bare exec, or a supervisor has 8 MiB or more.
"""

import argparse
import http.server
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from openbao import Server, memory
from speed import TRUE, Subject, build, datalens_env, instructions, interleaved

BATCHES = 5
SPAWNS = 30
CHANGES = 12  # in a batch
RESTARTS = 200
QUIET = 5.0
START_OVER_MS = 10.0
RSS_MIB = 8.0

# One process that has said with what it was started.
PROGRAM = ["/bin/sh", "-c", 'echo "$APP_PORT" > "$HOME/told"; exec sleep 1000']


def spread(values: list[float], unit: str = "ms") -> str:
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def ended(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Told:
    """What programs write to a pipe in their home."""

    def __init__(self, home: Path) -> None:
        os.mkfifo(home / "told")
        self.reader = os.open(home / "told", os.O_RDWR | os.O_NONBLOCK)
        self.rest = b""

    def wait_for(self, text: str, seconds: float = 20) -> None:
        wanted = text.encode()
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.rest += os.read(self.reader, 65536)
            except BlockingIOError:
                pass
            lines = self.rest.split(b"\n")
            if wanted in lines[:-1]:
                self.rest = b""
                return
            if time.monotonic() > deadline:
                sys.exit(f"no program says {text}")
            os.sched_yield()


def write_env(folder: Path, port: int) -> None:
    new = folder / ".env.new"
    new.write_text(datalens_env().replace("APP_PORT=8080", f"APP_PORT={port}"))
    new.chmod(0o600)
    new.rename(folder / ".env")


def watch(program: Path, folder: Path, *options: str) -> list[str]:
    return [str(program), "--env", "production", "run", "--watch", "--min-interval", "0s", *options, "--", *PROGRAM]


def start(program: Path, folder: Path, environment: dict[str, str], count: bool) -> bool:
    write_env(folder, 8080)
    dlconf = [str(program), "--env", "production"]
    true = Subject([TRUE], folder)
    run = Subject([*dlconf, "run", "--", TRUE], folder)
    watched = Subject([*dlconf, "run", "--watch", "--", TRUE], folder)
    interleaved([true, run, watched], environment, SPAWNS)
    for name, subject in [("bare /bin/true", true), ("run -- /bin/true", run), ("run --watch -- /bin/true", watched)]:
        print(f"{name:44}{spread(subject.batches)}")
    over = statistics.median(watched.batches) - statistics.median(true.batches)
    held = over <= START_OVER_MS
    print(f"{'over bare exec':44}{over:.2f} ms, promise {START_OVER_MS:g}: {'held' if held else 'MISSED'}")
    if count:
        # What becomes the program is lost to valgrind: `check` stands beside it.
        check = Subject([*dlconf, "check"], folder)
        for name, subject in [("check", check), ("run --watch", watched)]:
            print(f"{f'instructions of {name}':44}{instructions(subject, environment):.1f} M")
    return held


def change(program: Path, folder: Path, environment: dict[str, str], told: Told) -> None:
    write_env(folder, 8080)
    changes, floors = [], []
    port = 9000
    process = subprocess.Popen(
        watch(program, folder), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        told.wait_for("8080")
        time.sleep(1)
        for _ in range(BATCHES):
            times, floor_times = [], []
            for _ in range(CHANGES):
                port += 1
                begun = time.perf_counter()
                write_env(folder, port)
                told.wait_for(str(port))
                times.append((time.perf_counter() - begun) * 1000)
                floor_times.append(floor(folder, environment, told, port))
            changes.append(statistics.median(times))
            floors.append(statistics.median(floor_times))
    finally:
        ended(process)
    print(f"{'a change until the program runs with it':44}{spread(changes)}")
    print(f"{'floor: end one, start another':44}{spread(floors)}")
    print("(the first waits 50 ms for more changes: [debounce] min)")


def floor(folder: Path, environment: dict[str, str], told: Told, port: int) -> float:
    def begin() -> subprocess.Popen:
        return subprocess.Popen(PROGRAM, cwd=folder, env=environment | {"APP_PORT": f"floor{port}"})

    first = begin()
    told.wait_for(f"floor{port}")
    begun = time.perf_counter()
    first.terminate()
    first.wait()
    second = begin()
    told.wait_for(f"floor{port}")
    took = (time.perf_counter() - begun) * 1000
    second.terminate()
    second.wait()
    return took


def supervised(name: str, argv: list[str], folder: Path, environment: dict[str, str], told: Told, change, restarts: int = RESTARTS) -> bool:
    """Memory when quiet, and after many restarts."""
    quiet, busy = [], []
    for batch in range(BATCHES):
        process = subprocess.Popen(argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = 20000 + batch * 1000
            change(port)
            told.wait_for(str(port))
            time.sleep(QUIET)
            quiet.append(memory(process.pid)["RssAnon"])
            if batch == 0:
                for _ in range(restarts):
                    port += 1
                    change(port)
                    told.wait_for(str(port))
                time.sleep(1)
                busy.append(memory(process.pid)["RssAnon"])
        finally:
            ended(process)
    most = max(quiet + busy)
    held = most < RSS_MIB
    print(f"{name:44}{spread(quiet, 'MiB')}; after {restarts} restarts {busy[0]:.2f}: {'held' if held else 'MISSED'}")
    return held


class Fine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def memories(program: Path, folder: Path, environment: dict[str, str], told: Told) -> bool:
    write_env(folder, 8080)
    by_file = lambda port: write_env(folder, port)
    held = supervised("an env file", watch(program, folder), folder, environment, told, by_file)

    health = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fine)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    healthy = ["--healthy", f"http://127.0.0.1:{health.server_port}/"]
    held &= supervised("an env file, --healthy URL", watch(program, folder, *healthy), folder, environment, told, by_file)
    health.shutdown()

    socket = folder / "dlconf.sock"
    settings = folder / "daemon.toml"
    settings.write_text(
        'environment = "production"\n[source.local]\ntype = "dotenv"\npath = ".env"\n'
        f'[socket]\npath = "{socket}"\n[debounce]\nmin = "0s"\n'
    )
    daemon = subprocess.Popen([program, "daemon", "--config", settings], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        argv = [str(program), "run", "--socket", str(socket), "--watch", "--min-interval", "0s", "--", *PROGRAM]
        held &= supervised("a daemon's socket", argv, folder, environment, told, by_file)
    finally:
        ended(daemon)

    with Server() as server:
        lines = dict(line.split("=", 1) for line in datalens_env().splitlines())

        def by_server(port: int) -> None:
            server.put("shop", lines | {"APP_PORT": str(port)})

        by_server(8080)
        vault = server.settings("app.toml", "app", ["shop"], poll="1s")
        argv = [str(program), "--config", str(vault), "--env", "production", "run", "--watch", "--min-interval", "0s", "--", *PROGRAM]
        held &= supervised("OpenBao", argv, folder, environment, told, by_server, restarts=30)
    return held


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--only", choices=["start", "change", "memory"])
    arguments.add_argument("--instructions", action="store_true", help="count instructions (valgrind)")
    arguments.add_argument("--binary", type=Path, help="measure this program instead")
    asked = arguments.parse_args()
    program = asked.binary.resolve() if asked.binary else build(static=False)
    held = True
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        environment = {"PATH": "/usr/bin:/bin", "HOME": made, "LANG": "C.UTF-8"}
        told = Told(folder)
        if asked.only in (None, "start"):
            held &= start(program, folder, environment, asked.instructions)
        if asked.only in (None, "change"):
            change(program, folder, environment, told)
        if asked.only in (None, "memory"):
            held &= memories(program, folder, environment, told)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
