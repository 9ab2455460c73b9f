"""Migration: an offline leaves nothing of the heap on the node, and nothing comes back to it."""

import contextlib
import time

import ask
from ask import Skip
from placement import nodes_of, two_cpus


class Resident:
    """The program that holds memory of all kinds on the far node (guest/resident.c)."""

    def __init__(self, guest, *options, cpu=None, env=""):
        self.guest = guest
        near_cpu, far_cpu = two_cpus(guest)
        self.near, self.far = nodes_of(guest, (near_cpu, far_cpu))
        guest.run("rm -f /tmp/stop")
        self.program = ask.Program(
            guest, f"resident /tmp/stop {far_cpu if cpu is None else cpu} {' '.join(options)}",
            "resident", env=f"{env} LD_PRELOAD=$LIB SLABNODE_CONTROL=on")
        self.program.await_line("ready")
        self.pid = self.program.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.program.kill()

    def heap_on(self, node):
        return ask.pages(self.guest, self.pid)["heap", node]

    def all_on_far(self):
        """{class of mapping: pages on the far node}"""
        return {name: pages.move_pages
                for (name, node), pages in ask.pages(self.guest, self.pid).items()
                if node == self.far and pages.move_pages}

    def offline(self, *options):
        """Takes the far node out; what was on it beforehand, and the result."""
        before = self.heap_on(self.far)
        assert before.move_pages > 4000, f"only {before} pages were on node {self.far}"
        result = ask.control(self.guest, self.pid, " ".join([f"offline {self.far}", *options]))
        self.check_empty("after the offline")
        return before, result

    def check_empty(self, when):
        ask.check_no_heap(self.guest, self.pid, self.far, when)
        told = ask.status(self.guest, self.pid)[self.far]["resident_bytes"]
        assert told == 0, f"{when}: status tells of {told} bytes on node {self.far}"

    def end(self):
        """The program looks at every byte once more, and touches what it had not."""
        self.guest.run("touch /tmp/stop")
        ended = self.program.finish()
        out = self.program.output()
        assert ended == 0 and out.endswith("intact"), f"it ended with {ended}: {out}"


def leave_and_stay_away(guest, *options, env=""):
    with Resident(guest, *options, env=env) as resident:
        before, result = resident.offline()
        time.sleep(2)
        resident.check_empty("two seconds later")
        ask.control(guest, resident.pid, f"online {resident.far} --rebalance")
        back = resident.heap_on(resident.far)
        ask.control(guest, resident.pid, f"offline {resident.far}")
        resident.check_empty("the second time")
        resident.end()
    return (f"{before.move_pages} pages left in {result['elapsed_ms']:.0f} ms, "
            f"{back.move_pages} came back and left again")


def in_use(guest):
    return leave_and_stay_away(guest)


def locked(guest):
    return leave_and_stay_away(guest, "mlock")


def shared_after_fork(guest):
    return leave_and_stay_away(guest, "fork")


def half_touched(guest):
    """Pages that are touched for the first time while the node is away land elsewhere."""
    with Resident(guest, "half", "idle") as resident:
        before, _ = resident.offline()
        resident.guest.run("touch /tmp/stop")
        ended = resident.program.finish()
        assert ended == 0, f"it ended with {ended}: {resident.program.output()}"
    with Resident(guest, "half") as resident:
        resident.offline()
        resident.check_empty("after more was touched")
        resident.end()
    return f"{before.move_pages} pages"


def huge_pages(guest):
    """Transparent huge pages leave and are huge afterwards, where they are used for the heap."""
    with Resident(guest, "thp") as resident:
        huge = ask.huge_kb(guest, resident.pid)
        if huge == 0:
            raise Skip("the kernel gave no huge pages")
        before, result = resident.offline()
        after = ask.huge_kb(guest, resident.pid)
        resident.end()
    assert after >= huge / 2, f"{huge} kB in huge pages before, {after} kB after"
    return f"{huge} kB in huge pages before, {after} kB after"


@contextlib.contextmanager
def swap(guest):
    """Compressed memory as the guest's swap."""
    if guest.attempt("[ -e /dev/zram0 ] || for m in lzo-rle zsmalloc zram; do "
                     "insmod /slabnode/modules/$m.ko || exit 1; done")[0] != 0:
        raise Skip("no module for compressed swap")
    guest.run("echo 128M > /sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0")
    try:
        yield
    finally:
        guest.run("swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset")


def squeeze(guest, pid):
    """Has the kernel swap a part of the program out; the kilobytes that it did."""
    guest.attempt("echo 20M > /sys/fs/cgroup/memory.reclaim")
    swapped = int(guest.run(f"awk '/VmSwap/ {{ print $2 }}' /proc/{pid}/status"))
    if swapped == 0:
        raise Skip("the kernel swapped nothing out")
    return swapped


def swapped_out(guest):
    """Pages that are in swap during the offline come back elsewhere."""
    with swap(guest), Resident(guest, "idle") as resident:
        swapped = squeeze(guest, resident.pid)
        ask.control(guest, resident.pid, f"offline {resident.far}")
        resident.check_empty("after the offline")
        resident.end()
    return f"{swapped} kB were swapped out"


def a_minute_later(guest):
    """The kernel moves pages to those who use them, but none to a node that has left."""
    assert guest.read("/proc/sys/kernel/numa_balancing") == "1", "NUMA balancing is off"
    with swap(guest), Resident(guest, "half") as resident:
        swapped = squeeze(guest, resident.pid)
        before, _ = resident.offline()
        hinted = hint_faults(guest)
        for _ in range(4):
            time.sleep(15)
            resident.check_empty("within a minute")
        hinted = hint_faults(guest) - hinted
        resident.end()
    return f"{before.move_pages} pages left, {swapped} kB were in swap, {hinted} hinting faults since"


def marked(guest):
    """Pages leave that NUMA balancing has marked, which Linux 6.1 hides from move_pages()."""
    tuning = "/sys/kernel/debug/sched/numa_balancing"
    guest.attempt("mount -t debugfs debug /sys/kernel/debug")
    if guest.attempt(f"[ -w {tuning}/scan_delay_ms ]")[0] != 0:
        raise Skip("NUMA balancing cannot be tuned")
    before = {name: guest.read(f"{tuning}/{name}") for name in ("scan_delay_ms", "scan_period_min_ms")}
    guest.run(f"cd {tuning} && echo 10 > scan_delay_ms && echo 10 > scan_period_min_ms")
    try:
        with Resident(guest) as resident:
            hinted = hint_faults(guest)
            time.sleep(2)
            hinted = hint_faults(guest) - hinted
            assert hinted > 0, "NUMA balancing did nothing"
            resident.offline()
            resident.end()
    finally:
        for name, value in before.items():
            guest.run(f"echo {value} > {tuning}/{name}")
    return f"{hinted} hinting faults in two seconds"


def hint_faults(guest):
    return int(guest.run("awk '/^numa_hint_faults / { print $2 }' /proc/vmstat"))


def cancelled(guest):
    """After a cancel the node is used as before."""
    with Resident(guest) as resident:
        code, out = guest.attempt(f"hotplugctl -p {resident.pid} offline {resident.far} "
                                  "--policy wait --timeout 1")
        assert code == 6, f"exit {code}: {out}"
        state = ask.status(guest, resident.pid)[resident.far]["state"]
        assert state == "online", f"node {resident.far} is {state}"
        before = resident.heap_on(resident.far)
        assert before.move_pages > 4000, f"only {before} pages are on node {resident.far}"
        resident.end()
    return f"{before.move_pages} pages stayed"


def whole_process(guest):
    """--whole-process moves what is not of the heap, as far as migratepages does.

    Without NUMA balancing, which brings a running thread's stack back to where it runs."""
    guest.run("echo 0 > /proc/sys/kernel/numa_balancing")
    try:
        with Resident(guest) as resident:
            before = resident.all_on_far()
            ask.control(guest, resident.pid, f"offline {resident.far} --whole-process")
            after = resident.all_on_far()
            guest.run(f"migratepages {resident.pid} {resident.far} {resident.near}")
            theirs = resident.all_on_far()
            resident.end()
    finally:
        guest.run("echo 1 > /proc/sys/kernel/numa_balancing")
    told = f"{before} beforehand, {after} after it, {theirs} after migratepages"
    # Of files, pages that nobody had mapped stay, and are mapped when a page beside them is used.
    files = after.pop("file", 0)
    assert files <= before["file"] / 4 and sum(after.values()) <= sum(theirs.values()) + 8, told
    return told


def race_t16(guest):
    """T16 of docs/lifecycle.md: a minute's use of a node's memory while it is away."""
    code, out = guest.attempt(
        "env LD_PRELOAD=$LIB SLABNODE_TEST=1 SLABNODE_CONTROL=on "
        "/slabnode/tests/races/races-pages T16-balancing")
    assert code == 0, f"status {code}\n{out}"


TESTS = [in_use, locked, shared_after_fork, half_touched, huge_pages, swapped_out,
         marked, cancelled, whole_process]
LONG_TESTS = [a_minute_later, race_t16]
