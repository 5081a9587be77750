"""What people would apply: every overlay, every variant, every example of the chart,
rendered by the real kubectl and helm. Knows where they lie, and judges nothing."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "dlconf"

# What stands together in one namespace: a name, the overlay, the components on top.
STACKS = [
    ("development", "overlays/development", []),
    ("production", "overlays/production", []),
    ("production, metrics", "overlays/production", ["pod-monitor", "rotation-alerts"]),
    ("production, rotation", "overlays/production", ["acknowledge"]),
    ("production, Vault and rotation", "overlays/production", ["vault", "acknowledge"]),
    ("production, Vault", "overlays/production", ["vault"]),
    ("production, Vault and metrics", "overlays/production", ["vault", "pod-monitor"]),
    ("production, .env", "overlays/production", ["env-file"]),
    ("production, all components", "overlays/production", ["pod-monitor", "vault", "env-file", "acknowledge", "rotation-alerts"]),
    ("development, .env", "overlays/development", ["env-file"]),
    ("migrate", "jobs/migrate", []),
    ("rotator", "rotator", []),
    ("rotator, Vault", "rotator", ["rotator-vault"]),
]


@dataclass
class Rendered:
    """The objects of one way to deploy."""

    name: str
    objects: list

    def of(self, *kinds):
        return [o for o in self.objects if o["kind"] in kinds]

    def one(self, kind, name):
        return next((o for o in self.of(kind) if o["metadata"]["name"] == name), None)

    def yaml(self):
        return yaml.safe_dump_all(self.objects, sort_keys=False)


def run(command, stdin=None, check=True):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
    if check and done.returncode != 0:
        raise SystemExit(f"tests/manifests: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


def load(text):
    return [o for o in yaml.safe_load_all(text) if o]


def kustomize(kubectl, folder):
    return load(run([kubectl, "kustomize", folder]).stdout)


def stacks(kubectl):
    for name, overlay, components in STACKS:
        folder = KUSTOMIZE / overlay
        if not components:
            yield Rendered(name, kustomize(kubectl, folder))
            continue
        with tempfile.TemporaryDirectory() as made:
            made = os.path.realpath(made)
            relative = lambda path: os.path.relpath(path, made)
            namespace = yaml.safe_load((folder / "kustomization.yaml").read_text())["namespace"]
            content = {
                "namespace": namespace,
                "resources": [relative(folder)],
                "components": [relative(KUSTOMIZE / "components" / c) for c in components],
            }
            # JSON is YAML.
            Path(made, "kustomization.yaml").write_text(json.dumps(content))
            yield Rendered(name, kustomize(kubectl, made))


def unknown_folders():
    """Overlays, jobs and components that no stack has: nothing is checked by accident only."""
    used = {overlay for _, overlay, _ in STACKS}
    used |= {f"components/{c}" for _, _, components in STACKS for c in components}
    production = yaml.safe_load((KUSTOMIZE / "overlays/production/kustomization.yaml").read_text())
    used |= {os.path.normpath(f"overlays/production/{c}") for c in production["components"]}
    there = [p for kind in ("overlays", "jobs", "components") for p in (KUSTOMIZE / kind).iterdir()]
    there += [p for p in KUSTOMIZE.iterdir() if p.name not in ("base", "overlays", "jobs", "components")]
    return sorted({str(p.relative_to(KUSTOMIZE)) for p in there} - used)


def examples():
    return sorted((CHART / "examples").glob("*.yaml"))


def template(helm, values, *options, check=True):
    command = [helm, "template", "release", CHART, "--namespace", "chart", "--values", values, *options]
    return run(command, check=check)


def charts(helm):
    for values in examples():
        objects = load(template(helm, values).stdout)
        for o in objects:
            o["metadata"].setdefault("namespace", "chart")
        yield Rendered(f"chart, {values.stem}", objects)
