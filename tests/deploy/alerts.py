"""The alert rules: Prometheus's own promtool takes them and runs their tests, the operator's
copy is the same, and every alert leads to a section of the runbooks. Knows no manifests but
that copy."""

import re
import shutil
import tempfile
from pathlib import Path

import yaml

from rendered import KUSTOMIZE, ROOT, run

RULES = ROOT / "deploy" / "prometheus" / "dlconf-rotation.rules.yaml"
COPY = KUSTOMIZE / "components" / "rotation-alerts" / "prometheus-rule.yaml"
TESTS = Path(__file__).parent / "rotation.alerts.yaml"
# What the tests of the rules have to see: a rule that never fires, one that always does.
BROKEN = [("dlconf_rotation_waiting == 1", "dlconf_rotation_waiting == 2"), ("> 3 * 86400", "> 3 * 86"), ("absent(", "count(")]


def wrong(promtool):
    rules = yaml.safe_load(RULES.read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    if yaml.safe_load(COPY.read_text())["spec"] != rules:
        yield f"{COPY.name} is not {RULES.name}"
    tested = {t["alertname"] for test in yaml.safe_load(TESTS.read_text())["tests"] for t in test["alert_rule_test"]}
    for alert in alerts:
        if alert["alert"] not in tested:
            yield f"{alert['alert']} is not tested"
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        heads = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
        if anchor not in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]:
            yield f"{alert['alert']} leads to no section: {page}#{anchor}"
    if promtool:
        yield from judged(promtool)


def judged(promtool):
    with tempfile.TemporaryDirectory() as folder:
        rules, tests = Path(folder, RULES.name), Path(folder, TESTS.name)
        shutil.copy(TESTS, tests)

        def says(text):
            rules.write_text(text)
            done = run([promtool, "check", "rules", rules], check=False)
            return done if done.returncode else run([promtool, "test", "rules", tests], check=False)

        text = RULES.read_text()
        done = says(text)
        if done.returncode != 0:
            yield f"{RULES.name}: {done.stdout}{done.stderr}"
        for old, new in BROKEN:
            if old not in text or says(text.replace(old, new)).returncode == 0:
                yield f"{RULES.name} with {new!r} for {old!r} is not seen to be broken"
