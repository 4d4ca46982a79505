"""What many receivers on one machine cost that have nothing to do: memory and wakeups of each.

    scripts/bench many [--receivers N] [--seconds N] [--tls] [--service] [--binary FILE]...

All receive from one server, each with a slot and an archive of its own; pg_receivewal does the same
afterwards, with as many. PSS: private memory and the share of what several use, so that the
program's own pages count once for all of them. Wakeups: voluntary context switches of all threads
from the moment when each has been quiet for half a minute. --tls: verify-full, with a client's
certificate; the files are looked at while the connection lives. --service: as below systemd, with
the watchdog of the unit."""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import measure
from contenders import PGWEIR
from support.certificates import Authority
from support.process import die_with_parent, server_user, wait_for
from support.server import DEBIAN_BIN, Server

QUIET = 30
WATCHDOG_SECONDS = 60  # packaging/systemd/pgweir@.service.in


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receivers", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--binary", action="append", type=pathlib.Path)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--service", action="store_true")
    arguments = parser.parse_args(words)
    print("| program | PSS, MB | most | wakeups a minute | most | by thread | CPU a minute, ms |\n"
          "|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as name:
        place = pathlib.Path(name)
        place.chmod(0o755)
        server = Server(place, "server").initdb(wal_level="replica", max_connections=arguments.receivers + 20,
                                                max_wal_senders=arguments.receivers + 5,
                                                max_replication_slots=2 * arguments.receivers + 5)
        conninfo = encrypted(place, server) if arguments.tls else server.conninfo
        server.start()
        try:
            for binary in [*(arguments.binary or [PGWEIR]), DEBIAN_BIN / "pg_receivewal"]:
                measure_one(place, server, conninfo, binary, arguments)
        finally:
            server.stop("immediate")
    return 0


def encrypted(place, server):
    """Has the server ask for client certificates; conninfo with one."""
    authority = Authority(place, "authority")
    key, certificate = authority.sign("server", "localhost")
    for path, name in ((key, "server.key"), (certificate, "server.crt"), (authority.certificate, "clients.crt")):
        shutil.copy(path, server.data / name)
        if os.getuid() == 0:
            os.chown(server.data / name, server_user().pw_uid, server_user().pw_gid)
    (server.data / "server.key").chmod(0o600)
    server.conf(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="clients.crt")
    server.hba("hostssl replication postgres all cert")
    key, certificate = authority.sign("client", "postgres")
    return lambda **more: server.conninfo(host="localhost", sslmode="verify-full", sslcert=certificate,
                                          sslkey=key, sslrootcert=authority.certificate, **more)


def measure_one(place, server, conninfo, binary, arguments):
    stock = binary.name == "pg_receivewal"
    env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    manager = Manager(place / "notify") if arguments.service and not stock else None
    if manager:
        env |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000)}
    processes = []
    try:
        for number in range(arguments.receivers):
            archive = place / f"archive-{number}"
            archive.mkdir()
            server.sql(f"SELECT pg_create_physical_replication_slot('slot{number}', true)")
            words = [binary] if stock else [binary, "receive", "-q"]
            words += ["-D", archive, "-d", conninfo(application_name=f"receiver{number}"), "-S", f"slot{number}"]
            with open(place / f"log-{number}", "wb") as log:
                processes.append(subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=log, env=env,
                                                  preexec_fn=die_with_parent(signal.SIGKILL)))
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                 == str(arguments.receivers), "all to stream", deadline=120)
        server.switch_wal()
        server.sql("CHECKPOINT")
        time.sleep(QUIET)
        before = [(by_thread(process.pid), measure.cpu_seconds(process.pid)) for process in processes]
        begun = time.monotonic()
        time.sleep(arguments.seconds)
        minutes = (time.monotonic() - begun) / 60
        woken, cpu, pss, threads = [], [], [], []
        for process, (counts, spent) in zip(processes, before):
            now = by_thread(process.pid)
            each = sorted(((now[task] - counts.get(task, 0)) / minutes for task in now), reverse=True)
            woken.append(sum(each))
            threads.append(each)
            cpu.append((measure.cpu_seconds(process.pid) - spent) * 1000 / minutes)
            pss.append(measure.memory_kb(process.pid)["pss_kb"] / 1024)
        typical = threads[sorted(range(len(woken)), key=woken.__getitem__)[len(woken) // 2]]
        print(f"| {'pg_receivewal' if stock else binary} | {statistics.median(pss):.2f} | {max(pss):.2f} | "
              f"{statistics.median(woken):.1f} | {max(woken):.1f} | "
              f"{', '.join(f'{each:.1f}' for each in typical)} | {statistics.median(cpu):.1f} |", flush=True)
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()
        if manager:
            manager.close()
        for number in range(len(processes)):
            wait_for(lambda n=number: server.sql(
                f"SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots"
                f" WHERE slot_name = 'slot{n}' AND NOT active") == "1", "the slot to be free")
            shutil.rmtree(place / f"archive-{number}")


def by_thread(pid):
    """{thread: voluntary context switches}"""
    counts = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        for line in pathlib.Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                counts[task] = int(line.split()[1])
    return counts


class Manager:
    """systemd's end of the notifications: what comes is thrown away."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while self._socket.recv(65536) != b"end":
            pass

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink()
