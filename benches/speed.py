#!/usr/bin/env python3
"""How fast dlconf is, beside its floor in the same run.

    benches/speed.py                  the table; always exit 0
    benches/speed.py --gate           exit 1 where a target is missed
    benches/speed.py --static         the static-pie build as well
    benches/speed.py --instructions   instructions under callgrind as well
    benches/speed.py --peers          varlock and dotenvx from npm as well
    benches/speed.py --binary FILE    measure this program instead

A timed test gates nothing by itself: a busy machine is slow for everyone. So
every figure stands beside its floor (a bare `/bin/true`), which is measured in
the same minute, one spawn of each in turn, and what counts is the difference.
A figure is the median of five batches; a batch is the median of its spawns.

Time is taken around `posix_spawn` and `wait4`. glibc's `posix_spawn` shares the
parent's memory until the exec, so the size of this process does not count.
Memory is the kernel's own high-water mark (VmHWM), read while the child waits
to print into a full pipe, when all its work is done. `ru_maxrss` would not do:
it keeps the peak of what the process was before the exec, which is this
script's own and larger.

Nothing is built unless the program is missing.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
STATIC_TRIPLE = "x86_64-unknown-linux-gnu"
STATIC_FLAGS = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"

TRUE = "/bin/true"
ECHO = ["/bin/echo", "a line"]  # the floor of memory: it prints, as `check` does
BATCHES = 5

# The promises. Milliseconds over the floor, but for `large`: milliseconds.
CHECK_OVER_TRUE = 5.0
RUN_OVER_EXEC = 4.0
LARGE = 150.0
PEAK_MIB = 12.0
# Millions of instructions of `check`; see --instructions.
CHECK_INSTRUCTIONS = 20.0

LARGE_VARIABLES = 10_000
LARGE_RULES = 500


def key(name: str) -> str:
    """A strong key that is the same in every run and no one's secret."""
    return hashlib.sha256(f"dlconf bench {name}".encode()).hexdigest()


def datalens_env() -> str:
    """Sixty lines that pass in production, so that every rule is judged."""
    plain = """
        APP_ENV=production
        APP_PORT=8080
        APP_LOG_LEVEL=info
        DB_HOST=db.internal
        DB_PORT=5432
        DB_NAME=datalens
        DB_USER=datalens_api
        DB_SSL_MODE=verify-full
        DB_MAX_OPEN_CONNS=25
        DB_MAX_IDLE_CONNS=10
        DB_CONN_MAX_LIFETIME=5m
        REDIS_HOST=redis.internal
        REDIS_PORT=6379
        REDIS_DB=0
        NATS_URL=nats://nats.internal:4222
        NATS_CLUSTER_ID=datalens
        JWT_ACCESS_TOKEN_EXPIRY=15m
        JWT_REFRESH_TOKEN_EXPIRY=168h
        PORTAL_JWT_EXPIRY=15m
        CONSENT_CACHE_TTL_SECONDS=300s
        CORS_ALLOWED_ORIGINS=https://cc.example.com,https://admin.example.com
        AI_DEFAULT_PROVIDER=openai
        OPENAI_MODEL=gpt-4o
        OPENAI_MAX_TOKENS=4096
        ANTHROPIC_MODEL=some-model
        HUGGINGFACE_ENDPOINT=https://hf.example.com
        HUGGINGFACE_MODEL=some-model
        LOCAL_LLM_ENDPOINT=http://llm.internal:11434
        LOCAL_LLM_MODEL=llama3.2
        SARVAM_BASE_URL=https://api.sarvam.ai
        MICROSOFT_CLIENT_ID=11111111-2222-4333-8444-555555555555
        MICROSOFT_REDIRECT_URL=https://cc.example.com/microsoft
        MICROSOFT_TENANT_ID=common
        GOOGLE_CLIENT_ID=123456789012-abc.apps.googleusercontent.com
        GOOGLE_REDIRECT_URL=https://cc.example.com/google
        DIGILOCKER_CLIENT_ID=ABCD1234
        DIGILOCKER_REDIRECT_URI=https://cc.example.com/digilocker
        SMTP_HOST=smtp.example.com
        SMTP_PORT=587
        SMTP_USER=mailer
        SMTP_FROM_EMAIL=noreply@example.com
        SMTP_FROM_NAME=DataLens
        AWS_REGION=ap-south-1
        S3_BUCKET=datalens-scans
        AWS_ENDPOINT_URL_S3=https://s3.example.com
        CONTROL_CENTRE_ENDPOINT=https://cc.example.com
    """
    secrets = [
        "APP_SECRET_KEY",
        "DB_PASSWORD",
        "REDIS_PASSWORD",
        "JWT_SECRET",
        "PORTAL_JWT_SECRET",
        "CONSENT_SIGNING_KEY",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "HUGGINGFACE_API_KEY",
        "SARVAM_API_KEY",
        "MICROSOFT_CLIENT_SECRET",
        "GOOGLE_CLIENT_SECRET",
        "DIGILOCKER_CLIENT_SECRET",
        "SMTP_PASS",
    ]
    lines = [line.strip() for line in plain.split("\n") if line.strip()]
    lines += [f"{name}={key(name)}" for name in secrets]
    assert len(lines) == 60, len(lines)
    return "\n".join(lines) + "\n"


def large() -> tuple[str, str]:
    """A schema of ten thousand variables with rules, and its env file."""
    kinds = [
        ('type = "string"', "some text"),
        ('type = "int"\nmin = 1\nmax = 1000000', "4711"),
        ('type = "bool"\ndefault = "false"', "true"),
        ('type = "port"', "8080"),
        ('type = "url"\nschemes = ["https"]', "https://api.example.com/v1"),
        ('type = "duration"\ndefault = "5m"', "168h"),
        ('type = "enum"\nvalues = ["red", "green", "blue"]', "green"),
        ('type = "host"', "db.internal"),
        ('type = "hmac-key"\nmin_bytes = 32\nforbid = ["change-me*"]', None),
        ('type = "string"\npattern = "[a-z0-9-]+"\nrequired = ["production"]', "a-name-7"),
    ]
    schema = [
        'schema_version = 1\nname = "large"\n'
        'environments = { variable = "APP_ENV", names = ["development", "production"] }\n'
    ]
    env = []
    for i in range(LARGE_VARIABLES):
        kind, value = kinds[i % len(kinds)]
        name = f"SERVICE{i // 10}_{'ABCDEFGHIJ'[i % 10]}"
        schema.append(f'[var.{name}]\n{kind}\ndescription = "Variable {i} of many."\n')
        env.append(f"{name}={value if value is not None else key(name)}")
    for i in range(LARGE_RULES):
        schema.append(
            f'[[rule]]\nid = "rule-{i}"\nassert = "vars.SERVICE{i}_B <= 100000 && vars.SERVICE{i}_G != \'red\'"\n'
            'message = "so it must be"\n'
        )
    return "\n".join(schema), "\n".join(env) + "\n"


class Subject:
    """One command line to measure."""

    def __init__(self, argv: list[str], folder: Path, expected: int = 0):
        self.argv, self.folder, self.expected = argv, folder, expected
        self.times: list[float] = []
        self.batches: list[float] = []

    def spawn(self, environment: dict[str, str]) -> float:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ]
        os.chdir(self.folder)
        start = time.monotonic_ns()
        pid = os.posix_spawn(self.argv[0], self.argv, environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = time.monotonic_ns() - start
        code = os.waitstatus_to_exitcode(status)
        if code != self.expected:
            said = subprocess.run(
                self.argv, env=environment, cwd=self.folder, capture_output=True, text=True, check=False
            )
            shown = (said.stdout + said.stderr)[:2000]
            sys.exit(f"{' '.join(self.argv)} exits {code}, not {self.expected}:\n{shown}")
        return took / 1e6

    def peak_mib(self, environment: dict[str, str]) -> float:
        """The peak resident memory of one run, read while it waits to print."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        try:
            while os.write(writer, bytes(4096)):
                pass
        except BlockingIOError:
            os.set_blocking(writer, True)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ]
        os.chdir(self.folder)
        pid = os.posix_spawn(self.argv[0], self.argv, environment, file_actions=actions)
        os.close(writer)
        peak, asleep = 0, 0
        while asleep < 20:
            status = Path(f"/proc/{pid}/status").read_text()
            state = re.search(r"State:\s+(\S)", status)
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            if not state or not found:
                sys.exit(f"{' '.join(self.argv)} printed nothing")
            peak = max(peak, int(found.group(1)))
            # Nothing but the full pipe makes it sleep for long.
            asleep = asleep + 1 if state.group(1) == "S" else 0
            os.sched_yield()
        while os.read(reader, 65536):
            pass
        os.close(reader)
        os.waitpid(pid, 0)
        return peak / 1024


def interleaved(subjects: list[Subject], environment: dict[str, str], spawns: int) -> None:
    """Five batches of each, one spawn of each in turn."""
    for subject in subjects:
        for _ in range(3):
            subject.spawn(environment)  # warm the page cache
    for _ in range(BATCHES):
        for subject in subjects:
            subject.times = []
        for _ in range(spawns):
            for subject in subjects:
                subject.times.append(subject.spawn(environment))
        for subject in subjects:
            subject.batches.append(statistics.median(subject.times))


def instructions(subject: Subject, environment: dict[str, str]) -> float:
    """Millions of instructions in user space. The same program on the same
    input gives the same number to a fraction of a percent on any machine."""
    ran = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--", *subject.argv],
        env=environment,
        cwd=subject.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", ran.stderr)
    if not found:
        sys.exit(f"valgrind said no count:\n{ran.stderr}")
    return int(found.group(1)) / 1e6


def build(static: bool) -> Path:
    """The release program, built if it is missing."""
    folder = TARGET / "static" / STATIC_TRIPLE if static else TARGET
    program = folder / "release" / "dlconf"
    if not program.exists():
        command = ["cargo", "build", "--release", "--locked", "--bin", "dlconf"]
        environment = dict(os.environ)
        if static:
            # An explicit target keeps the flags off proc macros and build
            # scripts.
            command += ["--target", STATIC_TRIPLE, "--target-dir", str(TARGET / "static")]
            environment["RUSTFLAGS"] = STATIC_FLAGS
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return program


def peers(folder: Path) -> list[tuple[str, list[str]]]:
    """What others do with an env file of sixty lines, from npm."""
    home = TARGET / "speed" / "peers"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "node_modules").exists():
        (home / "package.json").write_text('{"private": true}\n')
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "varlock", "@dotenvx/dotenvx"],
            cwd=home,
            check=True,
        )
    node = shutil.which("node") or sys.exit("node is not installed")
    modules = home / "node_modules"
    dotenvx = modules / "@dotenvx" / "dotenvx" / "src" / "cli" / "dotenvx.js"
    varlock = (modules / ".bin" / "varlock").resolve()
    return [
        ("varlock load", [node, str(varlock), "load"]),
        ("dotenvx run -- true", [node, str(dotenvx), "run", "-q", "-f", str(folder / ".env"), "--", TRUE]),
    ]


class Table:
    """What is printed, and whether every promise holds."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        print(f"{'':34}{'figure':>10}{'floor':>10}{'over':>10}{'ratio':>8}  promise")

    def row(self, name: str, figure: float, floor: float, unit: str, promise: float | None, absolute: bool) -> None:
        over = figure - floor
        judged = figure if absolute else over
        verdict = ""
        if promise is not None:
            held = judged <= promise
            verdict = f"{'' if absolute else 'over '}≤ {promise:g} {unit}: {'held' if held else 'MISSED'}"
            if not held:
                self.missed.append(name)
        print(f"{name:34}{figure:>7.2f} {unit:<3}{floor:>6.2f} {unit:<3}{over:>6.2f} {unit:<3}{figure / floor:>7.1f}x  {verdict}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--gate", action="store_true", help="exit 1 where a promise is missed")
    arguments.add_argument("--static", action="store_true", help="the static-pie build as well")
    arguments.add_argument("--instructions", action="store_true", help="count instructions (valgrind)")
    arguments.add_argument("--peers", action="store_true", help="varlock and dotenvx as well (npm)")
    arguments.add_argument("--binary", type=Path, help="measure this program instead")
    arguments.add_argument("--spawns", type=int, default=50, help="spawns in a batch (50)")
    asked = arguments.parse_args()

    work = TARGET / "speed"
    datalens, many = work / "datalens", work / "large"
    for folder in (datalens, many):
        folder.mkdir(parents=True, exist_ok=True)
    (datalens / ".env").write_text(datalens_env())
    schema, env = large()
    (many / "dlconf.schema.toml").write_text(schema)
    (many / ".env").write_text(env)
    for folder in (datalens, many):
        (folder / ".env").chmod(0o600)

    environment = {"PATH": "/usr/bin:/bin", "HOME": str(work), "LANG": "C.UTF-8"}
    programs = [("", asked.binary.resolve() if asked.binary else build(static=False))]
    if asked.static:
        programs.append(("static ", build(static=True)))
    others = peers(datalens) if asked.peers else []
    table = Table()
    for label, program in programs:
        dlconf = [str(program), "--env", "production"]
        true = Subject([TRUE], datalens)
        check = Subject([*dlconf, "check"], datalens)
        run = Subject([*dlconf, "run", "--", TRUE], datalens)
        version = Subject([str(program), "--version"], datalens)
        interleaved([true, check, run, version], environment, asked.spawns)
        floor = statistics.median(true.batches)
        for name, subject, promise in [
            ("check, DataLens, 60 lines", check, CHECK_OVER_TRUE),
            ("run -- true", run, RUN_OVER_EXEC),
            ("--version", version, None),
        ]:
            table.row(label + name, statistics.median(subject.batches), floor, "ms", promise, absolute=False)

        true, big = Subject([TRUE], many), Subject([*dlconf, "check"], many)
        interleaved([true, big], environment, max(1, asked.spawns // 10))
        figures = (statistics.median(subject.batches) for subject in (big, true))
        table.row(f"{label}check, {LARGE_VARIABLES} variables", *figures, "ms", LARGE, absolute=True)

        echo = Subject(ECHO, datalens)
        for name, subject, promise in [("check", check, PEAK_MIB), ("large check", big, None)]:
            peaks = [statistics.median(s.peak_mib(environment) for _ in range(BATCHES)) for s in (subject, echo)]
            table.row(f"{label}{name}, peak memory", *peaks, "MiB", promise, absolute=True)

        if asked.instructions:
            counts = [instructions(subject, environment) for subject in (check, true)]
            promise = None if label else CHECK_INSTRUCTIONS
            table.row(f"{label}check, instructions", *counts, "M", promise, absolute=True)

    if others:
        true = Subject([TRUE], datalens)
        subjects = [Subject(argv, datalens) for _, argv in others]
        # Without their telemetry: it would measure the network.
        quiet = {"PH_OPT_OUT": "true", "DO_NOT_TRACK": "1", "PWD": str(datalens)}
        interleaved([true, *subjects], environment | quiet, 2)
        floor = statistics.median(true.batches)
        for (name, _), subject in zip(others, subjects):
            table.row(name, statistics.median(subject.batches), floor, "ms", None, absolute=False)

    if table.missed:
        print(f"\nmissed: {', '.join(table.missed)}")
        if asked.gate:
            sys.exit(1)


if __name__ == "__main__":
    main()
