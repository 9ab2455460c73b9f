"""The demo's other story: a guest machine loses a memory module under redis, several times over.

QEMU boots a guest (tests/vm). Redis runs there under libslabnode.so, on memory of a module that was
plugged in as a node of its own, while two clients overwrite keys and compare every byte that they read
back. The module's node is vacated by hotplugctl, its memory blocks are taken offline in the kernel, the
module is pulled out, and another one takes its place. What is shown are the guest's own answers; the
status is a failure when one of them was wrong, a request failed, or a value differed."""

import os
import sys
import tempfile
import time

import screen

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(SOURCE, "tests", "vm"))

import ask  # noqa: E402
import guest  # noqa: E402
import image  # noqa: E402
import removal  # noqa: E402
from shapes import SHAPES  # noqa: E402

REMOVALS = 3
NODE = removal.NODE
MIB = removal.MIB
KEYS = 3000
COLUMNS = "NODE,STATE,CPUS,LIVE,RESIDENT,ELSEWHERE"
# Compiled by tools/demo, since a build may be without tests.
PROGRAMS = ("redisload", "where")


class Demo:
    def __init__(self, machine):
        self.machine = machine
        self.number = 0
        self.failures = []

    def step(self, title):
        self.number += 1
        screen.heading(self.number, title)

    def expect(self, right, success, failure):
        if right:
            screen.good(success)
        else:
            screen.bad(failure)
            self.failures.append("step %d: %s" % (self.number, failure))

    def operator(self, command):
        """Types a command in the guest and shows what it says."""
        screen.typed(command)
        # Not on the guest's port, which is a terminal, so that nobody draws progress.
        code, text = self.machine.attempt(
            "( %s ) >/tmp/said 2>&1; code=$?; cat /tmp/said; exit $code" % command)
        screen.output(text)
        if code != 0:
            self.expect(False, "", "exit status %d" % code)

    # --- what happens ------------------------------------------------------------------------------
    def plug(self):
        screen.typed("(QEMU) device_add pc-dimm, %d MiB, node=%d" % (MIB, NODE))
        dimm = self.machine.plug(MIB)
        screen.say("%s: memory blocks %s are online and make up node %d." %
                   (dimm, blocks_of(self.machine, dimm), NODE))
        return dimm

    def start(self):
        self.step("A guest machine with two nodes, and a memory module as a third")
        dimm = self.plug()
        self.operator("numactl -H")
        self.step("Redis under libslabnode.so, on the module's memory")
        self.machine.run("rm -f /tmp/stop-load")
        screen.typed("numactl --preferred=%d env LD_PRELOAD=$LIB redis-server --port 7000 &" % NODE)
        self.server = ask.Program(
            self.machine, "redis-server --port 7000 --save '' --appendonly no --daemonize no",
            "redis", env=removal.PREFER)
        self.loads = removal.clients(self.machine, ["a", "b"], KEYS, "/tmp/stop-load")
        screen.say("Two clients overwrite and read %d keys from now on; they compare every byte." %
                   (2 * KEYS))
        self.status()
        return dimm

    def status(self):
        self.operator("hotplugctl -o %s status" % COLUMNS)

    def requests(self):
        """How many commands redis says that it has served."""
        return int(self.machine.run(
            "redis-cli -p 7000 info stats | sed -n 's/^total_commands_processed:\\([0-9]*\\).*/\\1/p'"))

    def remove(self, dimm):
        pages = ask.pages(self.machine, self.server.pid)["heap", NODE].move_pages
        before = self.requests()
        screen.say("%d pages of redis's heap are on the module." % pages)
        self.operator("hotplugctl offline %d" % NODE)
        left = ask.pages(self.machine, self.server.pid)["heap", NODE]
        self.expect(left == (0, 0), "by numa_maps and by move_pages no page of the heap is on node %d"
                    % NODE, "pages on node %d: %s" % (NODE, left))
        for block in sorted(self.machine.dimms[dimm]):
            self.operator("echo offline > /sys/devices/system/memory/memory%d/state" % block)
        screen.typed("(QEMU) device_del %s" % dimm)
        self.expect(self.machine.unplug(dimm), "the guest let go of it: DEVICE_DELETED",
                    "the guest kept it")
        self.expect(not removal.exists(self.machine), "there is no node %d any more" % NODE,
                    "node %d is still there" % NODE)
        self.expect(self.requests() > before, "redis served %d commands meanwhile" %
                    (self.requests() - before), "redis served nothing meanwhile")

    def give_back(self):
        dimm = self.plug()
        self.operator("hotplugctl online %d --rebalance" % NODE)
        return dimm

    def end(self):
        self.step("The end: every key is read once more")
        self.machine.run("touch /tmp/stop-load")
        for load in self.loads:
            code = load.finish()
            (requests, wrong, failed), = ask.figures(
                load.output(), r"requests (\d+) wrong (\d+) failed (\d+)") or [(0, "?", "?")]
            self.expect(code == 0, "client %s: %s requests, %s values differed, %s failed" % (
                load.name, format(requests, ",").replace(",", " "), wrong, failed),
                "client %s ended with %d: %s" % (load.name, code, load.output()))
        self.machine.run("kill %d" % self.server.pid)
        self.expect(self.server.finish() == 0, "redis ended by itself",
                    "redis: %s" % self.server.output())

    def tell(self):
        dimm = self.start()
        for removal_number in range(1, REMOVALS + 1):
            self.step("Removal %d of %d" % (removal_number, REMOVALS))
            self.remove(dimm)
            if removal_number < REMOVALS:
                self.step("Another module in its place")
                dimm = self.give_back()
                self.status()
        self.end()


def blocks_of(machine, dimm):
    blocks = sorted(machine.dimms[dimm])
    return "%d to %d" % (blocks[0], blocks[-1])


def boot(build, place):
    kernel = image.Kernel(os.path.join(build, "vm"))
    archive = os.path.join(place, "initramfs")
    extra = removal.PROGRAMS + ["/usr/bin/redis-cli"]
    image.build_initramfs(kernel, build, archive, extra,
                          [os.path.join(build, "vm", name) for name in PROGRAMS])
    screen.say("Booting Debian's kernel %s in QEMU, without KVM ..." % kernel.version)
    return guest.Guest(SHAPES["hotplug"], kernel, archive)


def main():
    build = os.path.abspath(sys.argv[1])
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        try:
            machine = boot(build, place)
        except (image.Unavailable, guest.GuestError) as e:
            screen.bad(str(e))
            return 1
        with machine:
            demo = Demo(machine)
            try:
                demo.tell()
            except (AssertionError, guest.GuestError, guest.qmp.QmpError) as e:
                screen.bad(str(e))
                demo.failures.append(str(e).splitlines()[0])
    screen.show()
    if demo.failures:
        for text in demo.failures:
            screen.bad(text)
        return 1
    screen.good("%d removals, nothing failed, nothing differed (%d s)" %
                (REMOVALS, time.monotonic() - begin))
    return 0


if __name__ == "__main__":
    sys.exit(main())
