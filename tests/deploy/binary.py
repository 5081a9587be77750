"""dlconf itself on what is deployed for it: does it accept its settings, does the policy
permit the program what it needs and nobody else anything, are the Roles those that
`dlconf rbac` prints, is a configuration as the guide makes it valid."""

import os
import secrets
import subprocess
import tempfile
from pathlib import Path

import yaml

import pods
import rotator
import together
from rendered import ROOT

# What the guide has people create, and a value of its kind: docs/kubernetes.md.
SECRETS = {
    "datalens-api": ["APP_SECRET_KEY", "DB_PASSWORD", "DB_USER=datalens"],
    "datalens-cc": [],
    "datalens-cc-admin": ["JWT_SECRET"],
    "datalens-cc-portal": ["CONSENT_SIGNING_KEY", "SMTP_PASS", "SMTP_USER=mailer"],
    "datalens-portal": ["PORTAL_JWT_SECRET"],
    "datalens-migrate": ["DB_PASSWORD", "DB_USER=owner"],
}
# The ways to deploy whose values are judged, too.
WHOLE = ("production", "migrate", "rotator")


class Binary:
    def __init__(self, path):
        self.path = path
        self.judged = set()

    def run(self, folder, *arguments, **variables):
        """Nothing of whoever runs the tests: a fresh environment in a fresh folder."""
        return subprocess.run(
            [self.path, *map(str, arguments)],
            cwd=folder, env={"HOME": str(folder), "PATH": "/nowhere", **variables},
            capture_output=True, text=True, timeout=60,
        )


def each(rendered):
    """The pods with files: name, spec, settings, policy, and a folder that holds both."""
    for name, template, settings, policy in together.deployed(rendered):
        with tempfile.TemporaryDirectory() as folder:
            held = together.files(rendered, template["spec"])
            for file, text in held.items():
                Path(folder, file).write_text(text)
                os.chmod(Path(folder, file), 0o644)
            yield name, template["spec"], settings, policy, Path(folder)


def variables(spec):
    """Those of dlconf's container that are its settings."""
    own = {v["name"]: v["value"] for v in pods.dlconf(spec).get("env", [])}
    return {k: v for k, v in own.items() if k == "DLCONF_ENV" or "__" in k}


def wrong(binary, rendered):
    for name, spec, settings, policy, folder in each(rendered):
        # Most stacks differ elsewhere.
        rights = sorted(together.rights_of(rendered, spec["serviceAccountName"]), key=str)
        same = repr((settings, policy, variables(spec), rights))
        if rendered.name not in WHOLE and same in binary.judged:
            continue
        binary.judged.add(same)
        checks = [settings_are_accepted, policy_permits, role_is_that_of_rbac]
        if rendered.name in WHOLE:
            checks.append(configuration_is_valid)
        # The chart's example with a schema of somebody's own does not have that schema here.
        if "schema" in settings:
            continue
        for check in checks:
            for problem in check(binary, rendered, name, spec, settings, folder):
                yield f"{name}: {problem}"


def said(done):
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def settings_are_accepted(binary, rendered, name, spec, settings, folder):
    config = folder / "dlconf.toml"
    done = binary.run(folder, "--config", config, "--offline", "check", "--names-only", **variables(spec))
    # Offline nothing can be judged, and that is all that may be said.
    if done.returncode not in (0, 1) or "error[" in done.stdout:
        yield f"`dlconf check` does not take its settings: {said(done)}"
    config.write_text(config.read_text().replace("[socket]", "[sockets]"))
    done = binary.run(folder, "--config", config, "--offline", "check", "--names-only", **variables(spec))
    if done.returncode != 2:
        yield f"`dlconf check` would take any settings: {said(done)}"
    config.write_text(config.read_text().replace("[sockets]", "[socket]"))


def policy_permits(binary, rendered, name, spec, settings, folder):
    own = pods.dlconf(spec)["securityContext"]["runAsUser"]
    test = lambda uid, *more: binary.run(
        folder, "--config", folder / "dlconf.toml", "access", "test", "--policy", folder / "access.toml",
        "--daemon-uid", own,
        "--uid", uid, "--gid", uid, *more, **variables(spec),
    )
    service = settings.get("service")
    needs = ["--var", f"service:{service}" if service else "*", "--action", "read"]
    if pods.alone(spec):
        for action in sorted(rotator.TURNS):
            if test(own, "--var", "*", "--action", action).returncode != 0:
                yield f"whoever executes in the pod may not {action}"
    for container in [] if pods.alone(spec) else spec["containers"]:
        uid = container["securityContext"]["runAsUser"]
        done = test(uid, *needs)
        if done.returncode != 0:
            yield f"the policy does not give {container['name']} what it reads: {said(done)}"
        if "--watch" in container["args"]:
            done = test(uid, *needs, "--action", "acknowledge")
            if done.returncode != 0:
                yield f"the policy lets {container['name']} not acknowledge: {said(done)}"
        # A token for the restart lock reads these Secrets too: it must not gain by that.
        held = [k.split("=")[0] for s in together.sources(settings, "kubernetes") for n in s.get("secrets", []) for k in SECRETS[n]]
        done = test(uid, *(f"--var={k}" for k in held), "--action", "read") if held else None
        if done and done.returncode != 0:
            yield f"a Secret holds what {container['name']} does not read: {said(done)}"
        for action in ("status", "forget", "rotate"):
            if test(uid, "--var", "APP_ENV", "--action", action).returncode != 4:
                yield f"the policy permits {container['name']} to {action}"
    for uid in (own, 10099):
        if test(uid, "--var", "APP_ENV", "--action", "read").returncode != 4:
            yield f"the policy gives user {uid} values"


def role_is_that_of_rbac(binary, rendered, name, spec, settings, folder):
    if not together.sources(settings, "kubernetes"):
        return
    locks = [a for c in spec["containers"] for a in c["args"] if a.startswith("--restart-lock=")]
    if rotator.rotates(settings):
        locks += ["--rotate", f"--leader={settings['rotation']['leader']}"]
    if rotator.leases_of(spec, settings).startswith("leases/"):
        locks.append("--acknowledge")
    done = binary.run(folder, "--config", folder / "dlconf.toml", "rbac", *locks, **variables(spec))
    if done.returncode != 0:
        yield f"`dlconf rbac` prints nothing: {said(done)}"
        return
    printed = [o for o in yaml.safe_load_all(done.stdout) if o]
    wanted = {
        (verb, resource, of)
        for role in printed if role["kind"] == "Role" for rule in role["rules"]
        for verb in rule["verbs"] for resource in rule["resources"] for of in rule.get("resourceNames") or [None]
    }
    there = set(together.rights_of(rendered, spec["serviceAccountName"]))
    for more, words in ((wanted - there, "lacks"), (there - wanted, "has too much:")):
        if more:
            yield f"its Role {words} {sorted(more, key=str)} by `dlconf rbac`"


def configuration_is_valid(binary, rendered, name, spec, settings, folder):
    """The ConfigMaps that are deployed and Secrets as the guide makes them, as a file."""
    lines = []
    for source in together.sources(settings, "kubernetes"):
        for config_map in source.get("config_maps", []):
            data = (rendered.one("ConfigMap", config_map) or {}).get("data")
            if data is None:
                data = production_config_map(config_map)
            lines += [f"{k}={v}" for k, v in data.items()]
        for secret in source.get("secrets", []):
            lines += [k if "=" in k else f"{k}={secrets.token_urlsafe(48)}" for k in SECRETS[secret]]
    environment = variables(spec).get("DLCONF_ENV") or settings["environment"]
    service = ["--service", settings["service"]] if "service" in settings else []
    values = folder / "values.env"
    (folder / "values.toml").write_text("")

    def check(lines):
        values.write_text("\n".join(lines) + "\n")
        os.chmod(values, 0o600)
        return binary.run(
            folder, "--config", folder / "values.toml", "--env", environment, *service,
            "--env-file", values, "check", "--fail-on", "warning",
        )

    done = check(lines)
    if done.returncode != 0:
        yield f"what is deployed is not valid: {said(done)}"
    done = check([line for line in lines if not line.startswith("DB_PASSWORD=")])
    if done.returncode != 1:
        yield f"it would be valid without a password as well: {said(done)}"


def production_config_map(name):
    """The migrations and the rotator use those of the overlay, which lies beside them in the
    cluster."""
    text = (ROOT / "deploy/kubernetes/overlays/production" / f"{name}.env").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
