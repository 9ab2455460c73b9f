"""What tests ask a guest: where memory is, and what slabnode says."""

import collections
import json
import re
import time

from guest import LIMIT, GuestError


class Skip(Exception):
    """A test cannot be run here."""


def cpus_by_node(guest):
    """{node: [cpu, ...]} of all nodes that are online, from the guest's sysfs."""
    out = guest.run("cd /sys/devices/system/node; for n in node[0-9]*; do "
                    "echo $n $(cat $n/cpulist); done")
    nodes = {}
    for line in out.splitlines():
        name, *cpus = line.split()
        nodes[int(name[4:])] = [c for part in ",".join(cpus).split(",") if part
                                for c in span(part)]
    return nodes


def span(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def memory_nodes(guest):
    text = guest.read("/sys/devices/system/node/has_memory")
    return [n for part in text.split(",") for n in span(part)]


def control(guest, pid, command):
    """What hotplugctl answers, as an object, when it must succeed.

    A process that did not answer, because the machine is too busy, is asked again."""
    deadline = time.monotonic() + LIMIT
    while True:
        code, out = guest.attempt(f"hotplugctl -p {pid} --json {command}")
        if code == 0:
            return json.loads(out)
        if '"message":"no answer"' not in out or time.monotonic() > deadline:
            raise GuestError(f"status {code}: hotplugctl {command}\n{out}")


def status(guest, pid):
    """{node: its row of status}."""
    return {row["node"]: row for row in control(guest, pid, "status")["nodes"]}


Pages = collections.namedtuple("Pages", "numa_maps move_pages")


def pages(guest, pid):
    """{(class of mapping, node): Pages}; of guest/where.c."""
    return pages_of(guest.run(f"where {pid}"))


def pages_of(text):
    found = collections.defaultdict(lambda: Pages(0, 0))
    for row in figures(text, r"^(\w+) (\d+) (\d+) (\d+)$"):
        found[row[0], row[1]] = Pages(*row[2:])
    return found


def check_no_heap(guest, pid, node, when="after the offline"):
    """Not one page of the heap is on the node, by both accounts of the kernel."""
    text = guest.run(f"where {pid} {node}")
    on_node = pages_of(text)["heap", node]
    assert on_node == (0, 0), f"{when}: {on_node} on node {node}\n{text}"


def huge_kb(guest, pid):
    """Kilobytes of the heap in huge pages."""
    return figures(guest.run(f"where {pid}"), r"^huge (\d+)$")[0][0]


class Program:
    """A program that runs in the guest beside the tests, under the library unless told."""

    def __init__(self, guest, command, name, env="LD_PRELOAD=$LIB SLABNODE_CONTROL=on"):
        self.guest = guest
        self.out = f"/tmp/{name}.out"
        guest.run(f"rm -f {self.out} /tmp/{name}.status /tmp/{name}.pid")
        # The shell that waits for it keeps its status.
        self.pid = int(guest.run(
            f"(env {env} {command} >{self.out} 2>&1 & echo $! >/tmp/{name}.pid; wait $!; "
            f"echo $? >/tmp/{name}.status) >/dev/null 2>&1 & "
            f"until [ -s /tmp/{name}.pid ]; do sleep 0.05; done; cat /tmp/{name}.pid"))
        self.name = name

    def await_line(self, text, timeout=LIMIT):
        self.guest.run(f"for i in $(seq {timeout * 5}); do grep -q '{text}' {self.out} && exit 0; "
                       f"[ -e /tmp/{self.name}.status ] && break; sleep 0.2; done; "
                       f"cat {self.out}; exit 1", timeout + 30)

    def output(self):
        return self.guest.run(f"cat {self.out}")

    def finish(self, timeout=LIMIT):
        """Its status, once it has ended by itself."""
        return int(self.guest.run(
            f"for i in $(seq {timeout * 5}); do [ -s /tmp/{self.name}.status ] && break; sleep 0.2; "
            f"done; cat /tmp/{self.name}.status", timeout + 30))

    def kill(self):
        self.guest.attempt(f"kill -9 {self.pid}")


def figures(text, pattern):
    """All matches of a pattern with groups, as tuples; numbers as such."""
    return [tuple(int(g) if g.isdigit() else g for g in m.groups())
            for m in re.finditer(pattern, text, re.M)]
