"""What cooperation is worth: the same removal of a module under redis, for slabnode that is asked to make
way, slabnode that is not, and other allocators, these also with `migratepages` beforehand.

Pages are the kernel's count. Times are those of an emulated machine: they compare with each other where
little else ran beside it, and a wait is the server's only as far as it is longer than the wait before the
removal and than `late`, by which the probe itself was woken too late."""

import collections
import os
import re
import statistics

import ask
from placement import PEERS
from removal import MIB, NODE, clients

LIBRARIES = "/usr/lib/x86_64-linux-gnu/"
# Debian's redis is linked with jemalloc. A library that comes before it is what the program uses.
MALLOCS = {"slabnode": "LD_PRELOAD=/slabnode/preload/libslabnode.so SLABNODE_CONTROL=on",
           "glibc": f"LD_PRELOAD={LIBRARIES}libc.so.6",
           "jemalloc": f"LD_PRELOAD={LIBRARIES}{PEERS['jemalloc']}",
           "tcmalloc": f"LD_PRELOAD={LIBRARIES}{PEERS['tcmalloc']}"}
EXTRA = [LIBRARIES + PEERS[name] for name in ("jemalloc", "tcmalloc")]
KEYS = 10000
ATTEMPTS = 20
REPEATS = 3

Phase = collections.namedtuple("Phase", "ms pages waited late", defaults=(0, 0, 0, 0))
Removal = collections.namedtuple("Removal", "held quiet way kernel refused")


class Probe:
    """A client that measures how long redis lets it wait, alone on the guest's last CPU."""

    def __init__(self, guest):
        self.guest = guest
        self.program = ask.Program(guest, f"stall 7000 {guest.shape.cpus - 1}", "probe", env="")
        self.program.await_line("ready")

    def during(self, command):
        """What a command in the guest took and what happened meanwhile, and what it said."""
        pid, out = self.program.pid, self.program.out
        said = self.guest.run(
            f"tell() {{ n=$(wc -l <{out}); kill -USR1 {pid}; "
            f"while [ $(wc -l <{out}) = $n ]; do sleep 0.001; done; }}; "
            "moved() { awk '/^pgmigrate_success / { print $2 }' /proc/vmstat; }; "
            f"before=$(moved); tell; {command}; tell; after=$(moved); "
            f"echo measured $((after - before)) $(tail -n 1 {out})")
        said, _, figures = said.rpartition("measured ")
        (pages, waited, late, ms), = re.findall(
            r"^(\d+) waited ([\d.]+) late ([\d.]+) over ([\d.]+)", figures)
        return Phase(float(ms), int(pages), float(waited), float(late)), said

    def end(self):
        self.guest.run(f"kill {self.program.pid}")
        assert self.program.finish() == 0, f"the probe: {self.program.output()}"


def take_blocks_offline(guest, probe, dimm):
    """Asks until the kernel has done it; how often it refused a block meanwhile."""
    blocks = " ".join(f"/sys/devices/system/memory/memory{b}/state" for b in sorted(guest.dimms[dimm]))
    phase, said = probe.during(
        f"for i in $(seq {ATTEMPTS}); do left=; for b in {blocks}; do grep -q offline $b || "
        "{ echo offline > $b; } 2>/dev/null || { left=1; echo refused; }; done; "
        "[ -z \"$left\" ] && break; done")
    left = guest.not_in_state(guest.dimms[dimm], "offline")
    assert not left, f"after {ATTEMPTS} attempts the kernel had not given up blocks {left}"
    return phase, said.count("refused")


def make_way(probe, server, how):
    commands = {"hotplugctl": f"hotplugctl -p {server.pid} offline {NODE} >/dev/null",
                "--whole-process":
                    f"hotplugctl -p {server.pid} offline {NODE} --whole-process >/dev/null",
                "migratepages": f"migratepages {server.pid} {NODE} 0"}
    return probe.during(commands[how])[0] if how in commands else Phase()


def pages_held(guest, pid):
    """The pages of the program that are on the module: nearly all that it has."""
    pages = {key: value.move_pages for key, value in ask.pages(guest, pid).items()}
    private = sum(n for (kind, _), n in pages.items() if kind not in ("file", "library"))
    held = sum(n for (kind, node), n in pages.items()
               if node == NODE and kind not in ("file", "library"))
    assert held > private * 0.9, f"{held} of {private} pages are on node {NODE}: {pages}"
    return held


def one_removal(guest, malloc, how):
    dimm = guest.plug(MIB)
    guest.run("rm -f /tmp/stop-load")
    server = ask.Program(guest, "redis-server --port 7000 --save '' --appendonly no --daemonize no",
                         "redis", env=f"numactl --preferred={NODE} env {MALLOCS[malloc]}")
    load, = clients(guest, ["load"], KEYS, "/tmp/stop-load")
    probe = Probe(guest)
    held = pages_held(guest, server.pid)
    quiet, _ = probe.during("sleep 1")
    way = make_way(probe, server, how)
    kernel, refused = take_blocks_offline(guest, probe, dimm)
    probe.end()
    guest.run("touch /tmp/stop-load")
    assert load.finish() == 0, f"a client: {load.output()}"
    guest.run(f"kill {server.pid}")
    assert server.finish() == 0, f"redis: {server.output()}"
    assert guest.unplug(dimm), f"{dimm} was not let go"
    removal = Removal(held, quiet, way, kernel, refused)
    print(f"{malloc}, {how}: {removal}", flush=True)
    return removal


def without_balancing(test):
    """Its moves would be counted among those of the removal."""
    def run(guest):
        guest.run("echo 0 > /proc/sys/kernel/numa_balancing")
        return test(guest)
    run.__name__ = test.__name__
    return run


COLUMNS = {"pages held": lambda r: r.held, "made way, ms": lambda r: r.way.ms,
           "pages": lambda r: r.way.pages, "kernel, ms": lambda r: r.kernel.ms,
           "pages ": lambda r: r.kernel.pages, "refused": lambda r: r.refused,
           "wait before, ms": lambda r: r.quiet.waited, "making way": lambda r: r.way.waited,
           "kernel": lambda r: r.kernel.waited,
           "late": lambda r: max(r.quiet.late, r.way.late, r.kernel.late)}


def table(removals):
    yield "| | | " + " | ".join(name.strip() for name in COLUMNS) + " |"
    yield "| --- | --- |" + " ---: |" * len(COLUMNS)
    for (malloc, how), rows in removals.items():
        cells = [statistics.median(column(r) for r in rows) for column in COLUMNS.values()]
        yield f"| {malloc} | {how} | " + " | ".join(f"{cell:.4g}" for cell in cells) + " |"


def left_to_kernel(asked, passive):
    """Who has made way leaves the kernel next to nothing."""
    assert asked.kernel.pages < passive.kernel.pages / 5, \
        f"the kernel moved {asked.kernel.pages} pages after slabnode had made way, " \
        f"{passive.kernel.pages} alone"
    return f"{asked.kernel.pages} pages were left to the kernel, {passive.kernel.pages} when not asked"


@without_balancing
def asked_and_not(guest):
    return left_to_kernel(one_removal(guest, "slabnode", "hotplugctl"),
                          one_removal(guest, "slabnode", "alone"))


@without_balancing
def figures(guest):
    ways = [("slabnode", "hotplugctl"), ("slabnode", "alone"), ("slabnode", "--whole-process")]
    ways += [(malloc, how) for malloc in ("glibc", "jemalloc", "tcmalloc")
             if malloc == "glibc" or os.path.exists(LIBRARIES + PEERS[malloc])
             for how in ("alone", "migratepages")]
    removals = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way, rows in removals.items():
            rows.append(one_removal(guest, *way))
    for line in table(removals):
        print(f"figure {line}", flush=True)
    return [left_to_kernel(*both) for both in zip(removals[ways[0]], removals[ways[1]])][-1]


TESTS = [asked_and_not]
LONG_TESTS = [figures]
