"""The chart's own promises: it lints, its schema refuses wrong values and says which, and
what a value switches on is there."""

import together
from rendered import CHART, examples, load, run, template

# What is set on top of examples/cc.yaml, and what helm has to say of it.
REFUSED = [
    (["--set=environment="], "/environment"),
    (["--set=enviroment=production"], "enviroment"),
    (["--set=program.image.tag=latest"], "/program/image"),
    (["--set=program.image.tag="], "/program/image"),
    (["--set=image.tag=latest"], "/image/tag"),
    (["--set=program.image.digest=sha256:abc"], "/program/image/digest"),
    (["--set=program.command=null"], "command"),
    (["--set=program.uid=0"], "/program/uid"),
    (["--set=program.uid=10100"], "/program/uid"),
    (["--set=program.uid=65534"], "/program/uid"),
    (["--set-string=program.uid=10001"], "/program/uid"),
    (["--set=program.port=80"], "/program/port"),
    (["--set=program.port=9470"], "/program/port"),
    (["--set=program.terminationGracePeriodSeconds=30"], "/program/terminationGracePeriodSeconds"),
    (["--set=program.vars={db_host}"], "/program/vars/0"),
    (["--set=secrets=datalens-api"], "/secrets"),
    (["--set=secrets={Datalens_API}"], "/secrets/0"),
    (["--set=secrets={a,a}"], "/secrets"),
    (["--set=secrets=null,configMaps=null"], "''"),
    (["--set=replicas=many"], "/replicas"),
    (["--set=restartLock=maybe"], "/restartLock"),
    (["--set=vault.address=http://vault:8200"], "/vault/address"),
    (["--set=vault.address=https://vault:8200"], "/vault"),
    (["--set=networkPolicy.apiServer={10.0.0.1}"], "/networkPolicy/apiServer/0"),
    (["--set=service=a b"], "/service"),
]


def wrong(helm):
    for values in examples():
        done = run([helm, "lint", "--strict", CHART, "--values", values], check=False)
        if done.returncode != 0:
            yield f"helm lint {values.name}: {done.stdout}{done.stderr}"
    cc = CHART / "examples" / "cc.yaml"
    for options, words in REFUSED:
        done = template(helm, cc, *options, check=False)
        if done.returncode == 0 or words not in done.stderr or "schema" not in done.stderr:
            yield f"values with {options} are not refused for {words}: {done.stderr or 'they are taken'}"
    done = template(helm, cc, "--kube-version=1.28", check=False)
    if done.returncode == 0 or "kubeVersion" not in done.stderr:
        yield "a cluster without native sidecars is not refused"
    bare = load(run([helm, "template", "release", CHART], check=False).stdout)
    if bare:
        yield "without values there is something to install"
    # Nothing that a value says may be read as settings.
    done = template(helm, cc, "--set-string=environment=x\"\nservice = \"other")
    settings = next(o for o in load(done.stdout) if o["metadata"]["name"] == "release-settings")
    if together.tomllib.loads(settings["data"]["dlconf.toml"])["service"] != "cc":
        yield "a value becomes settings of its own"
