"""What cooperation is worth: the same removal of a module under redis, for slabnode that is asked to make
way, slabnode that is not, and other allocators, these also with `migratepages` beforehand."""

import collections
import os
import re

import ask
from placement import PEERS
from removal import MIB, NODE, clients

LIBRARIES = "/usr/lib/x86_64-linux-gnu/"
SLABNODE = "LD_PRELOAD=/slabnode/preload/libslabnode.so SLABNODE_CONTROL=on"
# Debian's redis is linked with jemalloc.  A library that comes before it is what the program uses.
MALLOCS = {"slabnode": SLABNODE,
           "glibc": f"LD_PRELOAD={LIBRARIES}libc.so.6",
           "jemalloc": f"LD_PRELOAD={LIBRARIES}{PEERS['jemalloc']}",
           "tcmalloc": f"LD_PRELOAD={LIBRARIES}{PEERS['tcmalloc']}"}
EXTRA = [LIBRARIES + PEERS[name] for name in ("jemalloc", "tcmalloc")]
KEYS = 3000
ATTEMPTS = 20

Step = collections.namedtuple("Step", "seconds pages said")


def measured(guest, command):
    """A command in the guest: how long it took, how many pages the kernel moved meanwhile."""
    out = guest.run(
        "look() { cut -d' ' -f1 /proc/uptime; awk '/^pgmigrate_success / { print $2 }' /proc/vmstat; }; "
        f"before=$(look); {command}; echo measured $before $(look)")
    said, _, figures = out.rpartition("measured ")
    begin, pages, end, pages_then = map(float, figures.split())
    return Step(end - begin, int(pages_then - pages), said)


def take_blocks_offline(guest, dimm):
    """Asks until the kernel has done it; what it refused meanwhile is in `said`."""
    blocks = " ".join(f"/sys/devices/system/memory/memory{b}/state" for b in sorted(guest.dimms[dimm]))
    step = measured(
        guest, f"for i in $(seq {ATTEMPTS}); do left=; for b in {blocks}; do grep -q offline $b || "
        "{ echo offline > $b; } 2>/dev/null || { left=1; echo refused; }; done; "
        "[ -z \"$left\" ] && break; done")
    left = guest.not_in_state(guest.dimms[dimm], "offline")
    assert not left, f"after {ATTEMPTS} attempts the kernel had not given up blocks {left}"
    return step


NOTHING = Step(0, 0, "")


def make_way(guest, server, how):
    if how == "hotplugctl":
        return measured(guest, f"hotplugctl -p {server.pid} offline {NODE} >/dev/null")
    if how == "migratepages":
        return measured(guest, f"migratepages {server.pid} {NODE} 0")
    return NOTHING


def one_removal(guest, malloc, how):
    dimm = guest.plug(MIB)
    guest.run("rm -f /tmp/stop-load /tmp/stop-probe")
    server = ask.Program(guest, "redis-server --port 7000 --save '' --appendonly no --daemonize no",
                         "redis", env=f"numactl --preferred={NODE} env {MALLOCS[malloc]}")
    load, = clients(guest, ["load"], KEYS, "/tmp/stop-load")
    probe, = clients(guest, ["probe"], 1600, "/tmp/stop-probe")
    before = make_way(guest, server, how)
    kernel = take_blocks_offline(guest, dimm)
    guest.run("touch /tmp/stop-probe")
    assert probe.finish() == 0, f"a client: {probe.output()}"
    guest.run("touch /tmp/stop-load")
    assert load.finish() == 0, f"a client: {load.output()}"
    guest.run(f"kill {server.pid}")
    assert server.finish() == 0, f"redis: {server.output()}"
    assert guest.unplug(dimm), f"{dimm} was not let go"
    stall = int(re.search(r"longest (\d+)", probe.output())[1])
    text = (f"{malloc}, {how}: before {before.seconds:.2f} s, {before.pages} pages; kernel "
            f"{kernel.seconds:.2f} s, {kernel.pages} pages, refused {kernel.said.count('refused')}; "
            f"longest stall {stall} ms")
    print(f"figure {text}", flush=True)
    return before, kernel


def figures(guest):
    asked = one_removal(guest, "slabnode", "hotplugctl")
    passive = one_removal(guest, "slabnode", "alone")
    for malloc in ("glibc", "jemalloc", "tcmalloc"):
        if malloc == "glibc" or os.path.exists(LIBRARIES + PEERS[malloc]):
            one_removal(guest, malloc, "alone")
            one_removal(guest, malloc, "migratepages")
    assert asked[1].pages < passive[1].pages / 4, \
        f"the kernel moved {asked[1].pages} pages after slabnode had made way, {passive[1].pages} alone"
    return f"{asked[1].pages} pages were left to the kernel, of {passive[1].pages}"


TESTS = [figures]
