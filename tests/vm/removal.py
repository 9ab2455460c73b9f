"""The removal: a memory module is plugged in as a new node, used by a running program, vacated,
taken offline in the kernel and pulled out, while the program goes on; several times over."""

import time

import ask

NODE = 2
MIB = 256
PROGRAMS = ["/usr/bin/redis-server"]
# The node has no CPU, so nothing is local there: the program is told to prefer it.
PREFER = f"numactl --preferred={NODE} env LD_PRELOAD=/slabnode/preload/libslabnode.so " \
         "SLABNODE_CONTROL=on"


def exists(guest):
    return guest.attempt(f"[ -d /sys/devices/system/node/node{NODE} ]")[0] == 0


def heap_pages(guest, pid):
    return ask.pages(guest, pid)["heap", NODE].move_pages


def vacate_and_remove(guest, pid, dimm):
    """One removal; what it took, in words."""
    used = heap_pages(guest, pid)
    assert used > 1000, f"only {used} pages of the program were on node {NODE}"
    start = time.monotonic()
    result = ask.control(guest, pid, f"offline {NODE}")
    left = ask.pages(guest, pid)["heap", NODE]
    assert left == (0, 0), f"after its offline {left} of the heap were on node {NODE}"
    vacated = time.monotonic()
    refused = guest.offline_blocks(dimm)
    assert not refused, f"the kernel would not give up blocks {refused}"
    assert guest.unplug(dimm), f"{dimm} was not let go"
    gone = time.monotonic()
    assert not exists(guest), f"node {NODE} is still there"
    return (f"{used} pages, {result['migrated_bytes'] >> 20} MiB moved in "
            f"{vacated - start:.1f} s, out after {gone - vacated:.1f} s more")


def return_of_the_node(guest, pid):
    """A new module in its place, and the program uses it again."""
    dimm = guest.plug(MIB)
    ask.control(guest, pid, f"online {NODE} --rebalance")
    state = ask.status(guest, pid)[NODE]["state"]
    assert state == "online", f"node {NODE} is {state} after its return"
    return dimm


def cycles(guest, pid, dimm, removals):
    told = []
    for cycle in range(1, removals):
        told.append(vacate_and_remove(guest, pid, dimm))
        print(f"removal {cycle}: {told[-1]}", flush=True)
        code, out = guest.attempt(f"hotplugctl -p {pid} online {NODE}")
        assert code == 3, f"online of a node that is not there: exit {code}: {out}"
        dimm = return_of_the_node(guest, pid)
    told.append(vacate_and_remove(guest, pid, dimm))
    return f"{len(told)} removals; the last: {told[-1]}"


def under_a_program(guest, removals=4):
    dimm = guest.plug(MIB)
    guest.run("rm -f /tmp/stop")
    program = ask.Program(guest, "resident /tmp/stop 0", "resident", env=PREFER)
    program.await_line("ready")
    told = cycles(guest, program.pid, dimm, removals)
    guest.run("touch /tmp/stop")
    ended = program.finish()
    assert ended == 0, f"the program ended with {ended}: {program.output()}"
    return told


def clients(guest, names, keys, stop):
    """Clients that keep redis busy until there is a file `stop`; each has filled its keys."""
    loads = [ask.Program(guest, f"redisload 7000 {name} {keys} {stop}", name, env="")
             for name in names]
    for load in loads:
        load.await_line("ready")
    return loads


def under_redis(guest, removals=2, keys=3000):
    dimm = guest.plug(MIB)
    guest.run("rm -f /tmp/stop-load")
    server = ask.Program(guest, "redis-server --port 7000 --save '' --appendonly no --daemonize no",
                         "redis", env=PREFER)
    loads = clients(guest, ["a", "b"], keys, "/tmp/stop-load")
    told = cycles(guest, server.pid, dimm, removals)
    guest.run("touch /tmp/stop-load")
    for load in loads:
        ended = load.finish()
        assert ended == 0, f"the load ended with {ended}: {load.output()}"
    figures = [ask.figures(load.output(), r"requests (\d+) wrong (\d+) failed (\d+)")[0]
               for load in loads]
    guest.run(f"kill {server.pid}")
    assert server.finish() == 0, f"redis: {server.output()}"
    return f"{told}; {sum(f[0] for f in figures)} requests, none wrong, none failed"


def under_redis_again_and_again(guest):
    return under_redis(guest, removals=5, keys=12000)


TESTS = [under_redis]
LONG_TESTS = [under_a_program, under_redis_again_and_again]
