"""Takes nodes out of service, and brings them back, in every process that runs beside it.

Programs start others, which nobody can name beforehand. So the run directory is watched: each process
whose control socket appears there gets a `hotplugctl storm` of its own, until one of both ends. A
process that starts another program by exec gets a new socket, and so a new storm. What the storms
found is added up by program; requests that a process left unanswered because it ended are no defects.
"""

import collections
import json
import os
import signal
import socket
import subprocess
import threading

LOOK_SECONDS = 0.01
MOST_AT_ONCE = 16
GONE = {"ESRCH", "ECONNRESET", "ENOTCONN", "ENOENT", "EPIPE"}
FOREVER = "1000000"
NODES = 4


class Counts:
    """What one program, in all its processes, was asked and did."""

    def __init__(self):
        self.processes = self.requests = self.away = self.back = 0

    def add(self, report):
        rows = {r["request"]: r for r in report["requests"]}
        self.processes += 1
        self.requests += report["changes"]
        self.away += rows.get("offline", {"done": 0})["done"]
        self.back += rows.get("online", {"done": 0})["done"]


def ask(path, *requests, timeout=10):
    """The answer to the last of these requests to the process behind a socket; {} without one."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(path)
            s.sendall("".join(r + "\n" for r in requests).encode())
            with s.makefile() as answers:
                lines = [answers.readline() for _ in range(1 + len(requests))]
                return json.loads(lines[-1])
    except (OSError, ValueError):
        return {}


def bring_back(path):
    """A forked child begins with those nodes away that were away in its parent."""
    ask(path, *(f"{what} {n}" for n in range(NODES) for what in ("online", "uncordon")))


class Storm:
    """Watches a run directory inside a `with` block; counts and defects are complete behind it."""

    def __init__(self, hotplugctl, rundir, seed=1, rate=50):
        self.hotplugctl, self.rundir, self.seed, self.rate = hotplugctl, rundir, seed, rate
        self.counts = collections.defaultdict(Counts)
        self.defects = []
        self._known = set()
        self._running = []
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._watcher.start()
        return self

    def __exit__(self, kind, value, trace):
        self._over.set()
        self._watcher.join()

    def total(self):
        out = Counts()
        for one in self.counts.values():
            for name, number in vars(one).items():
                setattr(out, name, getattr(out, name) + number)
        return out

    def _watch(self):
        while not self._over.wait(LOOK_SECONDS):
            self._collect(wait=False)
            # After an exec the storm of the former program is still on its way out.
            busy = {name for name, _, _ in self._running}
            for key in self._sockets() - self._known:
                if key[0] not in busy and len(self._running) < MOST_AT_ONCE:
                    self._known.add(key)
                    self._start(key[0])
        for _, _, proc in self._running:
            proc.send_signal(signal.SIGINT)
        self._collect(wait=True)

    def _sockets(self):
        """Sockets by name and inode: another one of the same name is another program's."""
        try:
            return {(e.name, e.inode()) for e in os.scandir(self.rundir)
                    if e.name.endswith(".sock")}
        except OSError:
            return set()

    def _start(self, name):
        try:
            program = os.path.basename(os.readlink(f"/proc/{name[:-len('.sock')]}/exe"))
        except OSError:
            return
        self.seed += 1
        path = os.path.join(self.rundir, name)
        bring_back(path)
        argv = [self.hotplugctl, "-s", path, "--json", "storm", "--seed", str(self.seed), "--rate",
                str(self.rate), "--duration", FOREVER]
        # Ctrl-C on the terminal is ours to pass on, when everything else has been told.
        proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, start_new_session=True)
        self._running.append((name, program.removesuffix(" (deleted)"), proc))

    def _collect(self, wait):
        rest = []
        for name, program, proc in self._running:
            if not wait and proc.poll() is None:
                rest.append((name, program, proc))
                continue
            try:
                out, err = proc.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                proc.kill()
                out, err = proc.communicate()
                self.defects.append(f"{program}: the storm did not end")
            self._judge(program, proc.returncode, out, err)
        self._running = rest

    def _judge(self, program, status, out, err):
        """What one storm reports. One that found its process gone before it began reports nothing."""
        report = json.loads(out) if out.strip() else {}
        if "requests" not in report:
            # One that we ended before it could take our signal is no defect either.
            if report.get("error") not in GONE and status != -signal.SIGINT:
                self.defects.append(f"{program}: status {status}: {(out + err).decode()}")
            return
        self.counts[program].add(report)
        for failure in report["failures"]:
            if failure["reply"].get("error") not in GONE:
                self.defects.append(f"{program}: seed {report['seed']}, step {failure['step']}: "
                                    f"{failure['request']}: {failure['message']}")
