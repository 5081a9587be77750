#!/usr/bin/env python3
"""Many brokers over one OpenBao: what they ask of it.

    benches/vault_load.py                            200 brokers, 60 s, both ways to look
    benches/vault_load.py --brokers 20 --seconds 10  smaller

The brokers are `VaultSource`s of the library in one process (vault_load.rs),
each with a login, a client and connections of its own. Each watches three KV v2
secrets, once all in one folder (one LIST tells their versions) and once in three
folders (one metadata read each).

Idle: nothing changes. Start-up, when every broker logs in and reads everything
once, is not part of it: it begins a second after the last has read. Then one
secret is changed, once.

Counts come from the server's audit log, by path, operation and second. Exit 1
where one of these does not hold:

  - a broker looks at a path at most once a tick (or lists its folder);
  - nothing else is asked while nothing changes, and no data is read;
  - the busiest second has fewer than twice the requests of the mean second;
  - after one change, each broker reads the changed secret once, and no other.

Gates are on counts alone; times and memory are told.
"""

import argparse
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from openbao import ROOT, Request, Server, memory

POLL = 5.0  # the default, in seconds
# A tick is jittered by a tenth; what the server logs as its time is late by a bit.
SHORTEST_TICK = POLL * 0.9 - 0.1

# Requests in the mean second. Spread at random, some second of so few has twice
# as many by chance; from here on that happens in fewer than one run of a hundred.
JUDGED_FROM = 20

WAYS = {
    "one folder": ["shop/one", "shop/two", "shop/three"],
    "three folders": ["one/shop", "two/shop", "three/shop"],
}


def program() -> Path:
    """vault_load.rs, built if it is not."""
    built = subprocess.run(
        ["cargo", "build", "--locked", "--profile=load", "--bench=vault_load", "--message-format=json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    # The program itself is built as well: benches of a package may run it.
    found = (m["executable"] for m in messages if m.get("target", {}).get("name") == "vault_load")
    return Path(next(filter(None, found)))


class Brokers:
    """The running program; it ends with the `with` around it."""

    def __init__(self, built: Path, settings: Path, count: int):
        self.argv = [built, settings, str(count)]
        # Lines that it said and nobody has taken yet, each with its time.
        self.said: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()

    def __enter__(self) -> "Brokers":
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()
        self.expect("ready", 60)
        return self

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.put((time.time(), line.strip()))
        self.said.put((time.time(), "ended"))

    def expect(self, line: str, seconds: float) -> float:
        """Waits until it says this; the time at which it did."""
        try:
            at, said = self.said.get(timeout=seconds)
        except queue.Empty:
            sys.exit(f"the brokers did not say '{line}' in {seconds:g} s")
        if said != line:
            sys.exit(f"the brokers said '{said}', not '{line}'")
        return at

    def drain(self) -> int:
        """Takes what it has said; how many lines."""
        lines = self.said.qsize()
        for _ in range(lines):
            self.said.get()
        return lines

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()


class Gates:
    """What has to hold, and whether it does."""

    def __init__(self) -> None:
        self.failed = 0

    def judge(self, what: str, holds: bool) -> None:
        print(f"  {'held  ' if holds else 'FAILED'}  {what}")
        self.failed += not holds


def kinds(requests: list[Request]) -> str:
    counted = Counter(request.kind for request in requests)
    return ", ".join(f"{count} × {kind}" for kind, count in counted.most_common()) or "nothing"


def a_second(requests: list[Request], start: float, seconds: int) -> list[int]:
    """How many came in each second."""
    counted = Counter(int(request.at - start) for request in requests)
    return [counted[second] for second in range(seconds)]


def by_client(requests: list[Request]) -> Counter[tuple[str, str]]:
    return Counter((request.client, request.path) for request in requests)


def run(server: Server, built: Path, way: str, brokers: int, seconds: int, gates: Gates) -> None:
    paths = WAYS[way]
    role = way.replace(" ", "-")
    settings = server.settings(f"{role}.toml", role, paths)
    print(f"\n{brokers} brokers, three secrets in {way}")

    with Brokers(built, settings, 1) as one:
        alone = memory(one.pid)
    began = time.time()
    with Brokers(built, settings, brokers) as many:
        ready = time.time()
        time.sleep(1)
        start, busy = time.time(), many.processor_seconds()
        time.sleep(seconds)
        end, busy = time.time(), many.processor_seconds() - busy
        now = memory(many.pid)
        told = many.drain()

        changed = time.time()
        server.put(paths[1], {"SECOND": "other"})
        # As long as two ticks: a second read would show.
        deadline = time.time() + 2 * POLL * 1.1 + 1
        noticed: list[float] = []
        while (left := deadline - time.time()) > 0:
            try:
                at, line = many.said.get(timeout=left)
            except queue.Empty:
                break
            if line != "fetched":
                sys.exit(f"the brokers said '{line}'")
            noticed.append(at - changed)
        finished = time.time()

    burst, idle = server.asked(began, ready), server.asked(start, end)
    after = server.asked(changed, finished)
    kind, of_a_broker = ("folder LIST", 1) if way == "one folder" else ("metadata read", 3)
    looked = [request for request in idle if request.kind == kind]
    looks = by_client(looked)
    each_second = a_second(idle, start, seconds)
    mean, peak = sum(each_second) / seconds, max(each_second)
    ticks = math.floor(seconds / SHORTEST_TICK) + 1

    print(f"  start-up, all at once: {kinds(burst)}, in {ready - began:.1f} s")
    print(f"  {seconds} s idle: {kinds(idle)}")
    if looks:
        print(
            f"  {kind}s of a broker and path: {len(looked) / len(looks):.1f} on average,"
            f" {max(looks.values())} at most, one in {seconds * len(looks) / len(looked):.2f} s"
        )
    print(f"  requests a second: mean {mean:.1f}, peak {peak}, {peak / mean:.2f} times the mean")
    print(
        f"  memory: {now['VmRSS'] / brokers * 1024:.0f} KiB a broker ({now['VmRSS']:.1f} MiB resident in all,"
        f" {now['RssAnon']:.1f} anonymous); one alone {alone['VmRSS']:.1f} MiB ({alone['RssAnon']:.1f}),"
        f" each further {(now['VmRSS'] - alone['VmRSS']) / max(1, brokers - 1) * 1024:.0f} KiB"
    )
    print(f"  processor: {busy / seconds * 100:.1f} % of one, for all")
    spread = f"{min(noticed, default=0):.1f} to {max(noticed, default=0):.1f} s"
    print(f"  one change: {kinds(after)}; noticed after {spread}")

    gates.judge(
        f"idle: every broker looks, at most once a tick (≤ {ticks} times)",
        len(looks) == brokers * of_a_broker and max(looks.values(), default=0) <= ticks,
    )
    gates.judge(f"idle: nothing is asked but {kind}s", all(r.kind == kind for r in idle))
    gates.judge(f"idle: no broker is told of a change ({told})", told == 0)
    if mean >= JUDGED_FROM:
        gates.judge("idle: the peak second is below twice the mean", peak < 2 * mean)
    else:
        print(f"  not judged: the peak second, of so few requests (mean {mean:.1f})")
    reads = by_client([request for request in after if request.kind == "data read"])
    gates.judge(
        "one change: one data read a broker, of that secret",
        len(reads) == brokers
        and {path for _, path in reads} == {f"secret/data/{paths[1]}"}
        and set(reads.values()) == {1},
    )
    gates.judge("one change: each broker is told once", len(noticed) == brokers)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--brokers", type=int, default=200)
    arguments.add_argument("--seconds", type=int, default=60, help="how long nothing changes")
    arguments.add_argument("--binary", type=Path, help="run this program instead")
    asked = arguments.parse_args()
    built = asked.binary.resolve() if asked.binary else program()
    gates = Gates()
    with Server() as server:
        for paths in WAYS.values():
            for path, name in zip(paths, ["FIRST", "SECOND", "THIRD"]):
                server.put(path, {name: "value"})
        for way in WAYS:
            run(server, built, way, asked.brokers, asked.seconds, gates)
    if gates.failed:
        sys.exit(f"\n{gates.failed} did not hold")


if __name__ == "__main__":
    main()
