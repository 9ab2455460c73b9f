"""Following the kernel: nodes that come after a program started, offlines of heaps and kernel in one
(`--kernel`), and `hotplugctl follow`."""

import json
import re
import time

import ask
from guest import LIMIT

NODE = 2
MIB = 256
PORT = 7000
# The node has no CPU, so nothing is local there: the program is told to prefer it.
PREFER = f"numactl --preferred={NODE} env LD_PRELOAD=/slabnode/preload/libslabnode.so " \
         "SLABNODE_CONTROL=on"


class Server:
    """Redis with some 6 MiB of values, and a client that compares every reply meanwhile."""

    def __init__(self, guest, env=PREFER):
        self.guest = guest
        self.redis = ask.Program(guest, f"redis-server --port {PORT} --save '' --appendonly no "
                                 "--daemonize no", "redis", env=env)
        self.pid = self.redis.pid
        guest.run(f"for i in $(seq 100); do hotplugctl -p {self.pid} status >/dev/null 2>&1 && "
                  "exit 0; sleep 0.2; done; exit 1")
        guest.run("rm -f /tmp/stop-load")
        self.load = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.redis.kill()

    def fill(self, count=10000):
        self.guest.run(f"redis-cli -p {PORT} eval \"for i = 1, {count} do redis.call('set', 'key' "
                       ".. i, string.rep('x', 400)) end\" 0")

    def put_under_load(self):
        self.load = ask.Program(self.guest, f"redisload {PORT} a 3000 /tmp/stop-load", "load",
                                env="")
        self.load.await_line("ready")

    def pages(self, node=NODE):
        return ask.pages(self.guest, self.pid)["heap", node].move_pages

    def state(self, node=NODE):
        row = ask.status(self.guest, self.pid).get(node)
        return row["state"] if row else "unknown"

    def comes_to(self, state, node=NODE, seconds=LIMIT):
        await_true(lambda: self.state(node) == state,
                   f"node {node} did not come to {state} in redis", seconds)

    def end(self):
        """How many requests there were, of which none may have gone wrong."""
        requests = 0
        if self.load:
            self.guest.run("touch /tmp/stop-load")
            ended = self.load.finish()
            assert ended == 0, f"the load ended with {ended}: {self.load.output()}"
            (requests, wrong, failed), = ask.figures(
                self.load.output(), r"requests (\d+) wrong (\d+) failed (\d+)")
            assert (wrong, failed) == (0, 0), f"{wrong} wrong, {failed} failed"
        self.guest.run(f"kill {self.pid}")
        assert self.redis.finish() == 0, self.redis.output()
        return requests


def await_true(condition, problem, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.2)


def kernel_command(guest, command, code=0):
    """What `hotplugctl COMMAND --kernel` says, as an object."""
    words, _, wrapped = command.partition(" -- ")
    status, out = guest.attempt(f"hotplugctl --json {words} --kernel"
                                f"{' -- ' + wrapped if wrapped else ''}")
    assert status == code, f"exit {status}: {out}"
    return json.loads(out.splitlines()[-1])


def block_states(guest, blocks):
    return {guest.read(f"/sys/devices/system/memory/memory{b}/state") for b in blocks}


def exists(guest, node=NODE):
    return guest.attempt(f"[ -d /sys/devices/system/node/node{node} ]")[0] == 0


# --- without restart -------------------------------------------------------------------------------

def comes_later(guest):
    """A node that is plugged in under a running program is used without a restart."""
    with Server(guest, "LD_PRELOAD=$LIB SLABNODE_CONTROL=on") as server:
        code, out = guest.attempt(f"hotplugctl -p {server.pid} online {NODE}")
        assert code == 3 and "ENODEV" in out, f"before it is there: exit {code}: {out}"
        dimm = guest.plug(MIB)
        assert server.state() == "unknown", "it was known before it was named"
        ask.control(guest, server.pid, f"online {NODE}")
        assert server.state() == "online"
        for node in (0, 1):
            ask.control(guest, server.pid, f"cordon {node}")
        server.fill()
        used = server.pages()
        assert used > 1000, f"only {used} pages came to node {NODE}"
        for node in (0, 1):
            ask.control(guest, server.pid, f"uncordon {node}")
        kernel_command(guest, f"offline {NODE}")
        assert server.pages() == 0
        server.end()
    assert guest.unplug(dimm)
    return f"{used} pages on the new node"


# --- heaps and kernel in one ------------------------------------------------------------------------

def offline_and_online(guest):
    """One command vacates the heaps and takes the kernel's blocks; the module can be pulled out."""
    dimm = guest.plug(MIB)
    told = []
    with Server(guest) as server:
        server.fill()
        server.put_under_load()
        for again in (True, False):
            used = server.pages()
            assert used > 1000, f"only {used} pages were on node {NODE}"
            done = kernel_command(guest, f"offline {NODE}")
            assert [(k["state"], k["blocks_online"]) for k in done["kernel"]] == [("offline", 0)]
            assert block_states(guest, guest.dimms[dimm]) == {"offline"}
            assert server.state() == "offline"
            told.append(f"{used} pages, {done['elapsed_ms']} ms")
            if again:
                kernel_command(guest, f"online {NODE} --rebalance")
                assert block_states(guest, guest.dimms[dimm]) == {"online"}
                assert server.state() == "online"
        assert guest.unplug(dimm), f"{dimm} was not let go"
        assert not exists(guest)
        requests = server.end()
    return f"{'; '.join(told)}; {requests} requests, none wrong"


def around_chmem(guest):
    """The tool that takes the blocks is another's."""
    dimm = guest.plug(MIB)
    first, last = min(guest.dimms[dimm]), max(guest.dimms[dimm])
    with Server(guest) as server:
        server.fill()
        kernel_command(guest, f"offline {NODE} -- chmem --disable -b {first}-{last}")
        assert block_states(guest, guest.dimms[dimm]) == {"offline"}
        assert server.pages() == 0 and server.state() == "offline"
        kernel_command(guest, f"online {NODE} -- chmem --enable -b --zone Movable "
                       f"{first}-{last}")
        assert server.state() == "online"
        failure = kernel_command(guest, f"offline {NODE} -- chmem --disable -b 900-901",
                                 code=4)
        assert re.search(r"chmem ended with \d", failure["message"]), failure
        assert server.state() == "online"
        server.end()
    kernel_command(guest, f"offline {NODE}")
    assert guest.unplug(dimm)


# --- following ---------------------------------------------------------------------------------------

class Follow:
    """The daemon, and what it said."""

    def __init__(self, guest):
        self.guest = guest
        self.daemon = ask.Program(guest, "hotplugctl --json follow", "follow", env="")
        self.daemon.await_line('"start"')

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.guest.attempt(f"kill {self.daemon.pid}")
        if kind is not None:
            print(self.daemon.output(), flush=True)

    def said(self, event, **fields):
        events = [json.loads(line) for line in self.daemon.output().splitlines()]
        return [e for e in events if e["event"] == event and
                all(e.get(k) == v for k, v in fields.items())]

    def end(self):
        self.guest.run(f"kill {self.daemon.pid}")
        assert self.daemon.finish() == 0 and self.said("end"), self.daemon.output()


def follows_a_removal(guest):
    """The module is pulled out without a word to anybody, and another comes."""
    with Follow(guest) as follow, Server(guest, "LD_PRELOAD=$LIB SLABNODE_CONTROL=on") as server:
        told = []
        for cycle in range(2):
            dimm = guest.plug(MIB)
            server.comes_to("online")
            for node in (0, 1):
                ask.control(guest, server.pid, f"cordon {node}")
            if not cycle:
                server.fill()
                server.put_under_load()
            else:
                ask.control(guest, server.pid, f"online {NODE} --rebalance")
            used = server.pages()
            assert used > 1000, f"only {used} pages were on node {NODE}"
            for node in (0, 1):
                ask.control(guest, server.pid, f"uncordon {node}")
            assert guest.unplug(dimm), f"{dimm} was not let go"
            await_true(lambda: not exists(guest), f"node {NODE} is still there")
            server.comes_to("offline")
            told.append(str(used))
        requests = server.end()
        states = [e["state"] for e in follow.said("node", node=NODE)]
        assert states.count("came") == 2 and states.count("away") == 2, states
        assert not follow.said("offline", ok=False), follow.said("offline", ok=False)
        follow.end()
    return f"{', '.join(told)} pages were on the modules; {requests} requests, none wrong"


def follows_a_block(guest):
    """One block leaves: the processes make way, and return when it is known that the rest stays."""
    dimm = guest.plug(MIB)
    block = max(guest.dimms[dimm])
    with Follow(guest) as follow, Server(guest) as server:
        server.fill()
        guest.run(f"echo offline > /sys/devices/system/memory/memory{block}/state")
        server.comes_to("offline")
        server.comes_to("online")
        states = [e["state"] for e in follow.said("node", node=NODE)]
        assert states == ["leaving", "stays"], states
        server.end()
        follow.end()
    kernel_command(guest, f"offline {NODE}")
    assert guest.unplug(dimm)


def follows_a_cpuset(guest):
    """A cpuset loses a node: the heap leaves it. It gets the node again: the heap may use it."""
    group = "/sys/fs/cgroup/followed"
    guest.run("cd /sys/fs/cgroup && echo +cpuset > cgroup.subtree_control && "
              f"mkdir -p {group} && echo 0-1 > {group}/cpuset.mems")
    with Follow(guest) as follow, Server(guest, "numactl --preferred=1 env "
                                         "LD_PRELOAD=/slabnode/preload/libslabnode.so "
                                         "SLABNODE_CONTROL=on") as server:
        guest.run(f"echo {server.pid} > {group}/cgroup.procs")
        server.fill()
        used = server.pages(1)
        assert used > 1000, f"only {used} pages were on node 1"
        time.sleep(12)  # processes are searched for every ten seconds while nothing happens
        guest.run(f"echo 0 > {group}/cpuset.mems")
        server.comes_to("offline", 1)
        await_true(lambda: server.pages(1) == 0, f"{server.pages(1)} pages are on node 1")
        server.fill()
        assert server.pages(1) == 0
        guest.run(f"echo 0-1 > {group}/cpuset.mems")
        server.comes_to("online", 1)
        changes = [(e["lost"], e["gained"]) for e in follow.said("cpuset", pid=server.pid)]
        assert changes == [([1], []), ([], [1])], changes
        server.end()
        follow.end()
    guest.run(f"rmdir {group}")
    return f"{used} pages left"


def the_kernel_refuses(guest):
    """Memory of the kernel's own is on the node, and stays: all is as before.

    The last test of its guest, which never gets rid of that memory."""
    dimm = guest.plug(MIB)
    blocks = sorted(guest.dimms[dimm])
    # Node 1 begins within a block: what lies on two nodes cannot go at all.
    failure = kernel_command(guest, "offline 1", code=3)
    assert failure["error"] == "EINVAL" and "several zones or nodes" in failure["message"], failure
    for word in ("offline", "online_kernel"):
        for block in blocks:
            guest.run(f"echo {word} > /sys/devices/system/memory/memory{block}/state")
    guest.run(f"numactl --preferred={NODE} sh -c 'for i in $(seq 60); do mkdir /dev/shm/$i; "
              "for k in $(seq 60); do : > /dev/shm/$i/$k; done; done'")
    with Server(guest) as server:
        server.fill()
        failure = kernel_command(guest, f"offline {NODE}", code=4)
        assert (failure["error"], failure["state"]) == ("EBUSY", "online"), failure
        assert "not in zone Movable" in failure["hint"], failure
        assert block_states(guest, blocks) == {"online"}, block_states(guest, blocks)
        assert server.state() == "online"
        server.end()
    return failure["message"]


PROGRAMS = ["/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/sbin/chmem"]
TESTS = [comes_later, offline_and_online, follows_a_removal]
LONG_TESTS = [around_chmem, follows_a_block, follows_a_cpuset, the_kernel_refuses]
