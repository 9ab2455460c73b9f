"""Whether docs/json.md has each field that a process and hotplugctl answer with, and no other.

A program on simulated nodes is asked everything that can be asked. A field is told where its path stands
in the first cell of its command's table, or where the second cell of what it is part of names it. What
is told has to be seen, unless its cell says when only it is there.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAM = """
import threading, time
kept = [bytes(600) for _ in range(20000)]
def work():
    kept.append([bytes(600) for _ in range(20000)] + [bytes(1 << 20)])
    time.sleep(600)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while len(kept) < 20003:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(600)
"""

# In this order: what a section tells must come of its own requests.
REQUESTS = [
    ("status", "status"), ("topology", "topology"), ("slabinfo", "slabinfo 0"),
    ("options", "options"), ("version", "version"), ("help", "help"), ("list", "list-self"),
    ("plan", "plan 1"), ("why", "why 1"),
    ("offline", "offline 1 policy=strict"), ("offline", "offline 1 to=2"), ("offline", "offline 1"),
    ("offline", "offline 2 policy=strict"), ("offline", "offline 2 whole-process=1"),
    ("online", "online 1"), ("online", "online 1"), ("online", "online 1 rebalance=1"),
    ("online", "online 1 2"), ("offline", "offline 1 2"), ("online", "online 1 2 rebalance=1"),
    ("cordon", "cordon 2"), ("cordon", "cordon 2"), ("cordon", "uncordon 2"), ("cordon", "uncordon 2"),
    ("cancel", "cancel 1"), ("drain", "drain"), ("fault", "fault list"),
    ("offline", "offline 1 policy=wait detach=1 timeout=20"), ("status", "status"), ("why", "why 1"),
    ("cancel", "cancel 1"), ("events", "events"),
]
COMMON = {"ok", "error", "message"}


def paths(value, before=""):
    """Every field of an object, those within it as FIELD.NAME or FIELD[].NAME."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield before + name
            # The counts of a storm's errors are under the errors' names, not ours.
            if name != "errors":
                yield from paths(inner, f"{before}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, before[:-1] + "[].")


class Section:
    def __init__(self):
        self.told, self.within, self.sometimes = {}, {}, set()

    def add(self, cells):
        names = re.findall(r"`([^`]+)`", cells[0])
        inner = set(re.findall(r"`([a-z_]+)`", cells[1]))
        for name in names:
            name = name.removesuffix("[]")
            self.told[name] = cells[1]
            self.within[name] = inner
            if re.search(r"\bonly\b", cells[1]):
                self.sometimes.add(name)

    def tells(self, path):
        if path in self.told or any(name.startswith(path + "[].") for name in self.told):
            return True
        outer, _, name = path.rpartition(".")
        return name in self.within.get(outer.removesuffix("[]"), ())


def sections(text):
    found = {}
    for heading, body in re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        section = found[heading] = Section()
        for line in body.splitlines():
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 2 and cells[0].startswith("`"):
                section.add(cells)
    return found


def ask(path, request):
    """The answer, and all lines before it but the hello; of a detached request the first line."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        connection.sendall((request + "\n").encode())
        lines = []
        for line in connection.makefile():
            lines.append(json.loads(line))
            if "ok" in lines[-1] or ("detach=1" in request and "progress" in lines[-1]):
                return lines
    raise EOFError(request)


def collect(build):
    """section -> the paths that were seen in its answers; and what came before answers."""
    seen, before = {}, set()
    tools = os.path.join(build, "tools")
    with tempfile.TemporaryDirectory() as rundir:
        env = {k: v for k, v in os.environ.items() if not k.startswith("SLABNODE")}
        env.update(SLABNODE_CONTROL="on", SLABNODE_RUNDIR=rundir, SLABNODE_SAMPLE="64K")
        subject = subprocess.Popen([f"{tools}/slabnode-run", "--topology", "synthetic:node:3 pu:1", "--",
                                    sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE)
        try:
            subject.stdout.readline()
            for section, request in REQUESTS:
                for line in ask(f"{rundir}/{subject.pid}.sock", request):
                    if "slabnode" in line and "ok" not in line or "progress" in line:
                        before |= set(paths(line))
                        continue
                    for one in line.pop("results", [line]):
                        seen.setdefault(section, set()).update(paths(one))
                if "detach" in request:
                    time.sleep(0.1)
            for section, words in (("storm", ["storm", "--requests", "20", "--rate", "0"]),):
                done = subprocess.run([f"{tools}/hotplugctl", "-p", str(subject.pid), "--json", *words],
                                      stdout=subprocess.PIPE, timeout=60, check=True)
                seen[section] = set(paths(json.loads(done.stdout)))
        finally:
            subject.send_signal(signal.SIGKILL)
            subject.wait()
            subject.stdout.close()
    return seen, before


def compare(text, build):
    told, (seen, before) = sections(text), collect(build)
    lines = []
    for name, fields in seen.items():
        if name not in told:
            lines.append(f"docs/json.md has no section {name}")
            continue
        section = told[name]
        lines += [f"docs/json.md does not tell of {path} of {name}" for path in sorted(fields - COMMON)
                  if not section.tells(path)]
        shown = fields | {path.removesuffix("[]") for path in fields}
        lines += [f"docs/json.md tells of {path} of {name}, which was not seen"
                  for path in sorted(set(section.told) - shown - section.sometimes)]
    connection = re.search(r"^## A connection\n(.*?)^## ", text, re.M | re.S).group(1)
    named = set(re.findall(r"`([a-z_]+)`", connection))
    lines += [f"docs/json.md does not tell of {path} before the answer" for path in sorted(before)
              if path.rpartition(".")[2] not in named]
    if len(seen) < 15 or sum(map(len, seen.values())) < 120:
        lines.append(f"only {sum(map(len, seen.values()))} fields of {len(seen)} commands were seen")
    return lines
