#!/usr/bin/env python3
"""What sealed files and the last-known-good snapshot cost, beside floors of the same run.

    benches/sealed.py                  both parts; about two minutes
    benches/sealed.py --only start     one part: start, check
    benches/sealed.py --instructions   and instruction counts of `check`, by valgrind
    benches/sealed.py --binary FILE    measure this program instead

Start: a daemon's start with OpenBao gone, from the spawn until it tells systemd
that it is ready (READY=1, a datagram), so until the values are published and the
delivery has them. What it has comes from the snapshot that an earlier daemon wrote
while OpenBao was there. In turn with it the floor: the same daemon with the same
values from a local env file, and no snapshot. Nobody waits for more changes
(`[debounce] min` is `"0s"`). Once with `start_grace = "0s"`, and
once with a second, which is then taken off.

Check: `dlconf check` over sixty lines that are sealed for a key file, and in turn
with it the floor, `dlconf check` over the same lines as they are. Once more for a
passphrase, whose stretching is what it costs.

A figure is the median of five batches, with the least and the most. Exit 1 where a
start on the snapshot takes 100 ms or more after its grace.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openbao import Server
from speed import build, datalens_env

BATCHES = 5
STARTS = 9  # of each kind in a batch
GRACED = 2  # of those that wait a second
CHECKS = 30
STRETCHED = 3
LIMIT_MS = 100.0
PASSPHRASE = "four words nobody says"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ms ({min(values):.2f} to {max(values):.2f})"


def settings(folder: Path, sources: str, snapshot: str) -> Path:
    file = folder / "dlconf.toml"
    file.write_text(
        f'environment = "production"\n{sources}\n'
        f'[delivery.file]\ntype = "env-file"\npath = "{folder}/out.env"\nformat = "godotenv"\n'
        f'[debounce]\nmin = "0s"\n{snapshot}'
    )
    return file


def start(program: Path, folder: Path, file: Path, until_written: Path | None = None) -> float:
    """Milliseconds from the spawn until it is ready; then it is ended, once a file is there."""
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(address))
        notify.settimeout(20)
        environment = {"HOME": str(folder), "NOTIFY_SOCKET": str(address)}
        log = open(folder / "log", "wb")
        begun = time.perf_counter()
        daemon = subprocess.Popen(
            [program, "daemon", "--config", file], cwd=folder, env=environment, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            took = (time.perf_counter() - begun) * 1000
            deadline = time.monotonic() + 10
            while until_written is not None and not until_written.exists():
                if time.monotonic() > deadline:
                    sys.exit(f"{until_written} was not written:\n{(folder / 'log').read_text()}")
                time.sleep(0.01)
        except TimeoutError:
            sys.exit(f"it was not ready within 20 s:\n{(folder / 'log').read_text()}")
        finally:
            daemon.terminate()
            daemon.wait()
            log.close()
    return took


def starts(program: Path, temporary: Path) -> bool:
    values = dict(line.split("=", 1) for line in datalens_env().splitlines())
    local, remote, graced = (temporary / name for name in ("local", "remote", "graced"))
    for folder in (local, remote, graced):
        folder.mkdir()
        (folder / "key").write_bytes(os.urandom(48))
        (folder / "key").chmod(0o400)
    (local / "values.env").write_text(datalens_env())
    (local / "values.env").chmod(0o600)
    floor = settings(local, 'order = ["local"]\n[source.local]\ntype = "dotenv"\npath = "values.env"', "")

    def with_snapshot(server: Server, folder: Path, grace: str) -> Path:
        listed = server.settings(f"{folder.name}.toml", folder.name, ["datalens/production"]).read_text()
        listed = listed.replace('environment = "production"\n', "")
        section = (
            f'[snapshot]\npath = "{folder}/last-good.sealed"\nkey_file = "{folder}/key"\nstart_grace = "{grace}"\n'
        )
        return settings(folder, listed, section)

    with Server() as server:
        server.put("datalens/production", values)
        at_once = with_snapshot(server, remote, "0s")
        later = with_snapshot(server, graced, "1s")
        for folder, file in ((remote, at_once), (graced, later)):
            start(program, folder, file, folder / "last-good.sealed")
        server.process.terminate()
        server.process.wait()
        figures: dict[str, list[float]] = {"floor": [], "snapshot": [], "graced": []}
        for _ in range(BATCHES):
            batch: dict[str, list[float]] = {name: [] for name in figures}
            for turn in range(STARTS):
                batch["floor"].append(start(program, local, floor))
                batch["snapshot"].append(start(program, remote, at_once))
                if turn < GRACED:
                    batch["graced"].append(start(program, graced, later) - 1000)
            for name, times in batch.items():
                figures[name].append(statistics.median(times))
    print("| start until ready | figure |\n|---|---|")
    print(f"| floor: values from an env file, no snapshot | {spread(figures['floor'])} |")
    print(f"| OpenBao gone, `start_grace = \"0s\"` | {spread(figures['snapshot'])} |")
    print(f"| OpenBao gone, a grace of 1 s, without that second | {spread(figures['graced'])} |")
    size = (remote / "last-good.sealed").stat().st_size
    print(f"\nThe snapshot of 60 variables has {size} bytes.\n")
    return max(*figures["snapshot"], *figures["graced"]) < LIMIT_MS


def checks(program: Path, folder: Path, with_instructions: bool) -> None:
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    (folder / "values.env").write_text(datalens_env())
    (folder / "values.env").chmod(0o600)
    (folder / "key").write_bytes(os.urandom(48))
    (folder / "key").chmod(0o400)
    (folder / "words").write_text(PASSPHRASE)
    (folder / "words").chmod(0o400)
    source = '[source.local]\ntype = "{}"\npath = "{}"\n{}'
    kinds = {"floor: as it is": source.format("dotenv", "values.env", "")}
    for name, option in (("key", "key_file"), ("words", "passphrase_file")):
        sealed = f"{name}.sealed"
        flag = "--" + option.replace("_", "-")
        command = [program, "seal", "values.env", "-o", sealed, flag, name]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        kinds[f"sealed, {option}"] = source.format("sealed", sealed, f'{option} = "{name}"\n')
    commands = {}
    for at, (kind, text) in enumerate(kinds.items()):
        file = folder / f"{at}.toml"
        file.write_text(f'environment = "production"\norder = ["local"]\n{text}')
        commands[kind] = [program, "check", "--config", file]
    figures: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(BATCHES):
        batch: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(CHECKS):
            for kind, command in commands.items():
                if "passphrase" in kind and turn >= STRETCHED:
                    continue
                begun = time.perf_counter()
                done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
                batch[kind].append((time.perf_counter() - begun) * 1000)
                if done.returncode != 0:
                    sys.exit(f"check failed:\n{done.stdout.decode()}{done.stderr.decode()}")
        for kind, times in batch.items():
            figures[kind].append(statistics.median(times))
    print("| `check`, 60 lines | figure |" + (" instructions |" if with_instructions else ""))
    print("|---|---|" + ("---|" if with_instructions else ""))
    for kind, values in figures.items():
        counted = ""
        if with_instructions:
            ran = subprocess.run(
                ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--", *commands[kind]],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            found = re.search(r"Collected : (\d+)", ran.stderr)
            counted = f" {int(found.group(1)) / 1e6:.2f} M |" if found else " unknown |"
        print(f"| {kind} | {spread(values)} |{counted}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["start", "check"])
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--binary", type=Path)
    asked = parser.parse_args()
    program = asked.binary.resolve() if asked.binary else build(False)
    held = True
    with tempfile.TemporaryDirectory(prefix="dlconf-bench.") as temporary:
        if asked.only != "check":
            held = starts(program, Path(temporary))
        if asked.only != "start":
            folder = Path(temporary) / "check"
            folder.mkdir()
            checks(program, folder, asked.instructions)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
