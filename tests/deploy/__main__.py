"""Judges what deploy/ holds: rendered by kubectl and helm, against Kubernetes's schemas,
against our own promises (and these against changes that have to break them), by dlconf
itself, and by a real API server where one is given, with the pods run against it. Run by tests/manifests, which brings
the programs. Everything that is wrong is told in one run."""

import argparse
import os
import sys

import binary
import chart
import live
import mutations
import rendered
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


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--kubectl", required=True)
    options.add_argument("--helm", required=True)
    options.add_argument("--dlconf", required=True)
    options.add_argument("--bao", help="OpenBao, for the variant that reads it")
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
    say(f"all is well, and {len(mutations.MUTATIONS)} broken versions of it were seen")
    return 0


sys.exit(main())
