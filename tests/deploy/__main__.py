"""Judges what deploy/ holds: rendered by kubectl and helm, against Kubernetes's schemas,
against our own promises (and these against changes that have to break them), by dlconf
itself, and by a real API server where one is given, with the pods run against it. Run by tests/manifests, which brings
the programs. Everything that is wrong is told in one run."""

import argparse
import os
import sys

import alerts
import binary
import chart
import live
import mutations
import rendered
import rotator
import schemas
import server
import together


def say(text):
    print(f"tests/manifests: {text}", file=sys.stderr, flush=True)


def guide():
    """The guide tells how to make everything that is left to people."""
    text = (rendered.ROOT / "docs" / "kubernetes.md").read_text()
    unsaid = [(kind, name) for kind, name in sorted(together.YOU_BRING) if name not in text]
    return [f"docs/kubernetes.md does not say how {kind} {name} is made" for kind, name in unsaid]


# Which rotator is for which readers.
ROTATED = [("rotator", "production, rotation"), ("rotator, Vault", "production, Vault and rotation")]


def rotated(rotators, readers):
    """What a rotator's settings say of the programs, against these."""
    of_programs = {
        settings["service"]: (t["spec"], settings, readers.one("Deployment", name)["spec"]["replicas"])
        for name, t, settings, _ in together.deployed(readers)
    }
    _, template, settings, _ = next(together.deployed(rotators))
    values = readers.one("ConfigMap", "datalens-api")["data"]
    return list(rotator.together((template["spec"], settings), of_programs, values, rotators.name))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--kubectl", required=True)
    options.add_argument("--helm", required=True)
    options.add_argument("--dlconf", required=True)
    options.add_argument("--bao", help="OpenBao, for the variant that reads it")
    options.add_argument("--promtool", help="Prometheus's, for the alert rules")
    options = options.parse_args()

    problems = [f"nothing here renders {f}: list it in rendered.py" for f in rendered.unknown_folders()]
    problems += guide()
    stacks = [*rendered.stacks(options.kubectl), *rendered.charts(options.helm)]
    say(f"{len(stacks)} ways to deploy, {sum(len(s.objects) for s in stacks)} objects")
    problems += schemas.blind()
    problems += chart.wrong(options.helm)
    dlconf = binary.Binary(options.dlconf)
    for stack in stacks:
        problems += (f"{stack.name}: {p}" for judge in (together.wrong, schemas.wrong) for p in judge(stack))
        problems += (f"{stack.name}: {p}" for p in binary.wrong(dlconf, stack))
    whole = next(s for s in stacks if s.name == "production, Vault and metrics")
    problems += mutations.unseen(whole, together.wrong)
    by_name = {s.name: s for s in stacks}
    problems += mutations.unseen(by_name["rotator"], together.wrong, mutations.OF_ROTATOR)
    problems += mutations.unseen(by_name["production, rotation"], together.wrong, mutations.OF_READERS)
    for rotators, readers in ROTATED:
        problems += rotated(by_name[rotators], by_name[readers])
    problems += mutations.astray(by_name["rotator"], by_name["production, rotation"], rotated)
    problems += alerts.wrong(options.promtool)
    if not options.promtool:
        say("the alert rules were not tried: there is no promtool (DLCONF_TEST_PROMTOOL)")
    foreign = ", ".join(sorted(kind for _, kind in schemas.FOREIGN))
    say(f"Kubernetes has no schema of {foreign}: judged by our own rules alone")

    kubeconfig = os.environ.get("DLCONF_TEST_KUBECONFIG")
    if kubeconfig:
        real = server.Server(options.kubectl, kubeconfig)
        problems += server.wrong(real, stacks, say)
        problems += live.wrong(real, options.dlconf, options.bao, stacks, say)
    else:
        say("no API server was asked: DLCONF_TEST_KUBECONFIG is not set")

    for problem in problems:
        print(problem, flush=True)
    if problems:
        say(f"{len(problems)} problems")
        return 1
    say(f"all is well, and {mutations.COUNT} broken versions of it were seen")
    return 0


sys.exit(main())
