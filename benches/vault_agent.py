#!/usr/bin/env python3
"""dlconf beside `bao agent`, on the same secrets of one OpenBao in the same run.

    benches/vault_agent.py             everything; about ten minutes
    benches/vault_agent.py --no-wait   does not wait for the agent's own default

One-shot: `dlconf render` and `dlconf run` beside `bao agent -exit-after-auth`
with a template of the same env file. All log in by AppRole. Time is taken as in
speed.py, one spawn of each in turn; memory is the kernel's high-water mark
(VmHWM), read over and over until the end.

Watching: `dlconf daemon` with an env-file delivery beside `bao agent`, each at its
default and at one second, all four at once, each with an AppRole by which the
server's log tells them apart. dlconf gathers changes for its default of 50 ms.
First a minute in which nothing changes; then a field is changed five times, at
random moments, and the rendered files are looked at every few milliseconds.

Nothing is judged but that all rendered the same.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from openbao import ROOT, Request, Server, binary, memory
from speed import TRUE, Subject, build, interleaved, key
from vault_load import kinds

PATHS = ["shop/database", "shop/cache", "shop/mail"]
FIELDS = ["HOST", "USER", "PASSWORD", "TOKEN"]
CHANGES = 5
IDLE = 60

# The agent's default is five minutes; it adds nothing that takes longer than this.
LONGEST = 330


def name(path: str, field: str) -> str:
    return f"{path.split('/')[1].upper()}_{field}"


def fields(path: str, token: str = "") -> dict[str, str]:
    return {name(path, field): key(f"{path} {field} {token if field == 'TOKEN' else ''}") for field in FIELDS}


def schema() -> str:
    head = """
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[var.APP_ENV]
type = "string"
required = false
description = "The environment."
"""
    one = '[var.{}]\ntype = "string"\nsecret = true\ndescription = "One."\n'
    return head + "".join(one.format(name(path, field)) for path in PATHS for field in FIELDS)


def agent_config(server: Server, role: str, output: Path, interval: str | None) -> Path:
    role_id, secret_id = server.approle(role)
    one = '{{ with secret "secret/data/PATH" }}{{ range $k, $v := .Data.data }}{{ $k }}={{ $v }}\n{{ end }}{{ end }}'
    template = "".join(one.replace("PATH", path) for path in PATHS)
    every = f'template_config {{\n  static_secret_render_interval = "{interval}"\n}}\n' if interval else ""
    file = server.folder / f"{role}.hcl"
    file.write_text(
        f'vault {{\n  address = "{server.address}"\n}}\n'
        'auto_auth {\n  method "approle" {\n    config = {\n'
        f'      role_id_file_path = "{role_id}"\n      secret_id_file_path = "{secret_id}"\n'
        "      remove_secret_id_file_after_reading = false\n    }\n  }\n}\n"
        f'{every}template {{\n  destination = "{output}"\n  perms = "0600"\n  contents = {json.dumps(template)}\n}}\n'
    )
    return file


def rendered(file: Path) -> set[str]:
    """The assignments of an env file; none where it is not there yet."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return set()
    # `render` adds the environment, which is no secret's field.
    return {line for line in lines if line and not line.startswith(("#", "APP_ENV="))}


def wait_for(what: str, seconds: float, holds) -> float:
    """Looks until it holds; how long that took."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            sys.exit(f"{what}: not in {seconds:g} s")
        time.sleep(0.005)
    return time.monotonic() - start


def peak_mib(subject: Subject, environment: dict[str, str]) -> float:
    """The high-water mark of one run, as last seen before its end."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    os.chdir(subject.folder)
    pid = os.posix_spawn(subject.argv[0], subject.argv, environment, file_actions=actions)
    peak = 0
    # A process that has ended has no memory, and stays until it is waited for.
    while found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
        peak = max(peak, int(found.group(1)))
    os.waitpid(pid, 0)
    return peak / 1024


def one_shot(server: Server, spawns: int) -> None:
    folder = server.folder / "shop"
    folder.mkdir()
    (folder / "dlconf.schema.toml").write_text(schema())
    settings = server.settings("once.toml", "once", PATHS)
    ours, theirs = folder / "dlconf.env", folder / "agent.env"
    dlconf = [str(build(static=False)), "--config", str(settings)]
    config = agent_config(server, "agent-once", theirs, None)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(server.folder), "LANG": "C.UTF-8"}
    agent = [str(binary()), "agent", "-exit-after-auth", f"-config={config}"]
    subjects = {
        "`/bin/true`": Subject([TRUE], folder),
        "`dlconf render -o FILE`": Subject([*dlconf, "render", "-o", str(ours)], folder),
        "`dlconf run -- true`": Subject([*dlconf, "run", "--", TRUE], folder),
        "`bao agent -exit-after-auth`": Subject(agent, folder),
    }
    interleaved(list(subjects.values()), environment, spawns)
    same(rendered(ours), rendered(theirs))
    print("\n| one-shot | time | peak memory | requests |\n|---|---|---|---|")
    for label, subject in subjects.items():
        start = time.time()
        peak = statistics.median(peak_mib(subject, environment) for _ in range(5))
        took = statistics.median(subject.batches)
        asked = server.asked(start)
        once = kinds(asked[: len(asked) // 5])
        print(f"| {label} | {took:.1f} ms | {f'{peak:.1f} MiB' if peak else 'too quick to see'} | {once} |")
    os.chdir(ROOT)  # out of what will be removed


def same(ours: set[str], theirs: set[str]) -> None:
    if ours != theirs or len(ours) < len(PATHS) * len(FIELDS):
        sys.exit(f"dlconf rendered {len(ours)} lines, the agent {len(theirs)}, {len(ours & theirs)} of them the same")


class Running:
    """Something that watches; it ends with the `with` around it."""

    def __init__(self, argv: list[str], folder: Path, log: Path):
        self.argv, self.folder, self.log = argv, folder, log

    def __enter__(self) -> "Running":
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self.process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def daemon(server: Server, role: str, output: Path, poll: str | None) -> Running:
    settings = server.settings(f"{role}.toml", role, PATHS, poll)
    with settings.open("a") as more:
        more.write(f'[delivery.shop]\ntype = "env-file"\npath = "{output}"\n')
    argv = [str(build(static=False)), "--config", str(settings), "daemon"]
    return Running(argv, server.folder / "shop", settings.with_suffix(".log"))


def agent(server: Server, role: str, output: Path, interval: str | None) -> Running:
    config = agent_config(server, role, output, interval)
    return Running([str(binary()), "agent", f"-config={config}"], server.folder, config.with_suffix(".log"))


def watching(server: Server, wait: bool) -> None:
    files = {role: server.folder / f"{role}.env" for role in ("dlconf-5s", "dlconf-1s", "agent-5m", "agent-1s")}
    with ExitStack() as stack:
        started = time.time()
        watchers = {
            "dlconf-5s": daemon(server, "dlconf-5s", files["dlconf-5s"], None),
            "dlconf-1s": daemon(server, "dlconf-1s", files["dlconf-1s"], "1s"),
            "agent-5m": agent(server, "agent-5m", files["agent-5m"], None),
            "agent-1s": agent(server, "agent-1s", files["agent-1s"], "1s"),
        }
        running = {role: stack.enter_context(watcher) for role, watcher in watchers.items()}
        for role, file in files.items():
            wait_for(f"{role} renders", 60, lambda: len(rendered(file)) >= len(PATHS) * len(FIELDS))
            same(rendered(files["dlconf-5s"]), rendered(file))
        time.sleep(2)

        start = time.time()
        time.sleep(IDLE)
        idle = server.asked(start, time.time())
        resident = {role: memory(process.pid) for role, process in running.items()}

        waited: dict[str, list[float]] = {role: [] for role in files if role != "agent-5m"}
        for turn in range(CHANGES):
            time.sleep(random.uniform(0, 5))
            line, put = change(server, str(turn))
            missing = set(waited)
            while missing:
                for role in [role for role in missing if line in rendered(files[role])]:
                    waited[role].append(time.monotonic() - put)
                    missing.remove(role)
                if time.monotonic() - put > 30:
                    sys.exit(f"30 s after the change: nothing of {', '.join(missing)}")
                time.sleep(0.002)
        if wait:
            wait_for("the agent's default", LONGEST, lambda: line in rendered(files["agent-5m"]))
            took = time.monotonic() - put
            between = reads(server.asked(started), "agent-5m")

    print("\n| watching | `kv put` to file | VmRSS | RssAnon | requests in 60 idle s |\n|---|---|---|---|---|")
    labels = {
        "dlconf-5s": "`dlconf daemon`, default (5 s)",
        "dlconf-1s": "`dlconf daemon`, 1 s",
        "agent-5m": "`bao agent`, default (5 min)",
        "agent-1s": "`bao agent`, 1 s",
    }
    for role, label in labels.items():
        if role in waited:
            times = waited[role]
            latency = f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        elif wait:
            latency = f"{took:.0f} s, once; it reads every {between:.0f} s"
        else:
            latency = "not waited for"
        asked = [request for request in idle if request.role == role]
        now = resident[role]
        sizes = f"{now['VmRSS']:.1f} MiB | {now['RssAnon']:.1f} MiB"
        print(f"| {label} | {latency} | {sizes} | {len(asked)} ({kinds(asked)}) |")
    if unknown := [request for request in idle if request.role not in labels]:
        print(f"\nof nobody's role: {kinds(unknown)}")


def change(server: Server, token: str) -> tuple[str, float]:
    """Changes one field; the line that it makes, and when it was put."""
    new = fields(PATHS[0], token)
    put = time.monotonic()
    server.put(PATHS[0], new)
    changed = name(PATHS[0], "TOKEN")
    return f"{changed}={new[changed]}", put


def reads(asked: list[Request], role: str) -> float:
    """The longest time between two reads of the changed secret."""
    times = [r.at for r in asked if r.role == role and r.path == f"secret/data/{PATHS[0]}"]
    return max((later - earlier for earlier, later in zip(times, times[1:])), default=0.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--no-wait", action="store_true", help="not for the agent's default, five minutes")
    arguments.add_argument("--spawns", type=int, default=5, help="spawns in each of five batches (5)")
    asked = arguments.parse_args()
    with Server() as server:
        for path in PATHS:
            server.put(path, fields(path))
        one_shot(server, asked.spawns)
        watching(server, not asked.no_wait)
    said = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True)
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {said.stdout.split(' (')[0]}")


if __name__ == "__main__":
    main()
