"""Placement: memory is where the CPU is that asked for it, page by page, by the kernel's word."""

import os

import ask
from ask import Skip

PEERS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
         "mimalloc": "libmimalloc.so.2"}
KINDS = ("slabs", "runs", "large")


def locality(guest, scenario, cpus, prefix="LD_PRELOAD=$LIB"):
    """{kind: (bytes on the node of the CPU that asked, bytes)}"""
    # A shell's variable before a wrapper like numactl would put the wrapper under the library, too:
    # env stands behind the wrapper.
    out = guest.run(f"{prefix} locality {cpus[0]} {cpus[1]} {scenario}")
    rows = ask.figures(out, r"^(\w+) (\w+) (\d+) of (\d+)$")
    found = {kind: (local, total) for _, kind, local, total in rows}
    assert set(found) == set(KINDS), f"locality said: {out}"
    return found


def two_cpus(guest):
    """CPUs of two nodes that have memory."""
    with_memory = ask.memory_nodes(guest)
    cpus = [c[0] for n, c in sorted(ask.cpus_by_node(guest).items()) if c and n in with_memory]
    assert len(cpus) >= 2, "the guest has no two nodes with CPUs and memory"
    return cpus[0], cpus[-1]


def tell(found):
    return ", ".join(f"{kind} {local / total:.1%}" for kind, (local, total) in found.items())


def all_local(guest, scenario, cpus=None, wrapper=""):
    found = locality(guest, scenario, cpus or two_cpus(guest), f"{wrapper} env LD_PRELOAD=$LIB")
    for kind, (local, total) in found.items():
        assert local == total, f"{scenario}, {kind}: {local} of {total} bytes are local"
    return tell(found)


def home(guest):
    return all_local(guest, "home")


def crossed(guest):
    return all_local(guest, "crossed")


def moved(guest):
    return all_local(guest, "moved")


def traffic(guest):
    return all_local(guest, "traffic")


def peers(guest):
    """The same of other allocators: figures, not a test of them."""
    cpus = two_cpus(guest)
    lines = []
    for name, library in {"slabnode": "$LIB", "glibc": None, **PEERS}.items():
        path = library if library == "$LIB" else f"/usr/lib/x86_64-linux-gnu/{library}"
        if library in PEERS.values() and not os.path.exists(path):
            continue
        for scenario in ("home", "crossed", "moved", "traffic"):
            found = locality(guest, scenario, cpus, f"LD_PRELOAD={path}" if library else "")
            lines.append(f"{name} {scenario}: {tell(found)}")
    for line in lines:
        print(f"figure {line}", flush=True)
    return f"{len(lines)} figures"


# --- numactl --------------------------------------------------------------------------------------

def on_nodes(guest, wrapper, cpus):
    """{node: heap pages} of a program that allocates on both CPUs under a wrapper."""
    guest.run("rm -f /tmp/stop")
    program = ask.Program(guest, f"resident /tmp/stop {cpus[0]}", "wrapped",
                          env=f"{wrapper} env LD_PRELOAD=/slabnode/preload/libslabnode.so "
                              "SLABNODE_CONTROL=on")
    program.await_line("ready")
    try:
        found = ask.pages(guest, program.pid)
        states = ask.status(guest, program.pid)
    finally:
        guest.run("touch /tmp/stop")
        ended = program.finish()
    assert ended == 0, f"the program ended with {ended}: {program.output()}"
    by_node = {node: found["heap", node].move_pages
               for node in sorted({node for name, node in found if name == "heap"})}
    return by_node, states


def nodes_of(guest, cpus):
    by_cpu = {c: n for n, list_ in ask.cpus_by_node(guest).items() for c in list_}
    return by_cpu[cpus[0]], by_cpu[cpus[1]]


def membind(guest):
    cpus = two_cpus(guest)
    near, far = nodes_of(guest, cpus)
    heap, states = on_nodes(guest, f"numactl --membind={far}", cpus)
    assert set(heap) == {far}, f"heap pages by node, bound to {far}: {heap}"
    return f"{heap[far]} pages on node {far}, none on {near}"


def interleave(guest):
    """It says which nodes may be used; among them memory is still on the CPU's own."""
    return all_local(guest, "crossed", wrapper="numactl --interleave=all")


def interleave_subset(guest):
    cpus = two_cpus(guest)
    near, far = nodes_of(guest, cpus)
    heap, _ = on_nodes(guest, f"numactl --interleave={far}", cpus)
    assert set(heap) == {far}, f"heap pages by node, interleaved over {far}: {heap}"
    return f"{heap[far]} pages on node {far}, none on {near}"


def preferred(guest):
    cpus = two_cpus(guest)
    near, far = nodes_of(guest, cpus)
    heap, _ = on_nodes(guest, f"numactl --preferred={far}", cpus)
    share = heap.get(far, 0) / sum(heap.values())
    assert share > 0.95, f"heap pages by node, preferred {far}: {heap}"
    return f"{share:.1%} of the pages on node {far}"


# --- what a machine's administrator or a container engine restricts --------------------------------

def cpuset(guest):
    """In a cpuset of one node nothing is on the other, and that one is shown as not allowed."""
    near, far = nodes_of(guest, two_cpus(guest))
    cpus = two_cpus(guest)
    guest.run("cd /sys/fs/cgroup && echo +cpuset > cgroup.subtree_control && mkdir -p tight && "
              f"echo {far} > tight/cpuset.mems && echo {cpus[0]} > tight/cpuset.cpus")
    heap, states = on_nodes(
        guest, "sh -c 'echo $$ > /sys/fs/cgroup/tight/cgroup.procs; exec \"$@\"' sh", cpus)
    assert set(heap) == {far}, f"heap pages by node, in a cpuset of {far}: {heap}"
    assert not states[near]["allowed"], f"node {near} is allowed"
    return f"{heap[far]} pages on node {far}, node {near} is not allowed"


def refused_calls(guest):
    """Under a container's filter the program runs, and offline says what was refused."""
    cpus = two_cpus(guest)
    _, far = nodes_of(guest, cpus)
    guest.run("rm -f /tmp/stop")
    program = ask.Program(guest, f"resident /tmp/stop {cpus[1]}", "refused",
                          env="refuse env LD_PRELOAD=/slabnode/preload/libslabnode.so "
                              "SLABNODE_CONTROL=on")
    program.await_line("ready")
    told = ask.control(guest, program.pid, "status")
    assert told["placement"] == "first-touch", f"placement is {told['placement']}"
    code, out = guest.attempt(f"hotplugctl -p {program.pid} offline {far} --policy migrate")
    assert code == 3 and "refused" in out, f"exit {code}: {out}"
    status = ask.status(guest, program.pid)
    assert status[far]["state"] == "online", f"node {far} is {status[far]['state']}"
    guest.run("touch /tmp/stop")
    ended = program.finish()
    assert ended == 0, f"the program ended with {ended}: {program.output()}"
    return told["placement_reason"]


# --- every shape -----------------------------------------------------------------------------------

def topology(guest):
    """Nodes, CPUs and distances as the kernel has them."""
    program = ask.Program(guest, "resident /tmp/stop-topology 0", "topology")
    program.await_line("ready")
    try:
        rows = ask.status(guest, program.pid)
        kernel = ask.cpus_by_node(guest)
        assert set(rows) == set(kernel), f"nodes {sorted(rows)}, the kernel has {sorted(kernel)}"
        for node, cpus in kernel.items():
            shown = [c for part in rows[node]["cpus"].split(",") if part for c in ask.span(part)]
            assert shown == cpus, f"node {node}: CPUs {shown}, the kernel has {cpus}"
        distances = {node: guest.read(f"/sys/devices/system/node/node{node}/distance").split()
                     for node in kernel}
        order = {node: dict(zip(sorted(kernel), map(int, row)))
                 for node, row in distances.items()}
        for node, row in rows.items():
            away = [order[node][other] for other in row["fallback"]]
            assert away == sorted(away), f"node {node} falls back to {row['fallback']}: {away}"
    finally:
        guest.run("touch /tmp/stop-topology")
    ended = program.finish()
    assert ended == 0, f"the program ended with {ended}: {program.output()}"
    guest.run("rm /tmp/stop-topology")
    return f"nodes {sorted(rows)}"


def pairs(guest):
    """Placement is right on every node that has CPUs and memory, each with the next."""
    with_memory = ask.memory_nodes(guest)
    cpus = [c[0] for n, c in sorted(ask.cpus_by_node(guest).items()) if c and n in with_memory]
    for pair in zip(cpus, cpus[1:] or cpus):
        all_local(guest, "crossed", pair)
    return f"CPUs {cpus}"


def each_leaves(guest):
    """Every node that has memory leaves under load and returns, and nothing is on it in between."""
    left = []
    for node in ask.memory_nodes(guest):
        cpu = (ask.cpus_by_node(guest)[node] or [0])[0]
        guest.run("rm -f /tmp/stop")
        program = ask.Program(guest, f"resident /tmp/stop {cpu}", "leaves")
        program.await_line("ready")
        ask.control(guest, program.pid, f"offline {node}")
        ask.check_no_heap(guest, program.pid, node)
        ask.control(guest, program.pid, f"online {node} --rebalance")
        guest.run("touch /tmp/stop")
        ended = program.finish()
        assert ended == 0, f"the program ended with {ended}: {program.output()}"
        left.append(node)
    return f"nodes {left}"


def memoryless_home(guest):
    """A thread on a CPU of a node without memory gets memory of the nearest that has some."""
    cpus = ask.cpus_by_node(guest)
    bare = next(n for n in cpus if n not in ask.memory_nodes(guest))
    heap, _ = on_nodes(guest, "", (cpus[bare][0], 0))
    row = guest.read(f"/sys/devices/system/node/node{bare}/distance").split()
    nearest = min((int(d), n) for n, d in zip(sorted(cpus), row) if n != bare)[1]
    share = heap.get(nearest, 0) / sum(heap.values())
    assert share > 0.95, f"heap pages by node, nearest is {nearest}: {heap}"
    return f"{share:.1%} of the pages on node {nearest}"


TESTS = [home, crossed, moved, traffic, membind, interleave, interleave_subset, preferred, cpuset,
         refused_calls]
PEER_FIGURES = [peers]
SHAPE_TESTS = [topology, pairs, each_leaves]
MEMORY_ONLY_TESTS = [memoryless_home]
