"""A guest machine with 64-bit ARM processors, for aarch64.py: a kernel, and so restartable sequences.

The emulator of programs hands system calls to the host and refuses rseq(2), so that all runs locked in
it. Here QEMU emulates the machine: Debian's kernel for arm64, four processors, two memory nodes, and in
its initramfs busybox, the build, and the libraries it was linked with. The guest is sent nothing: its
init runs a list of tests, one after the other, and tells of them on the console.

Each test insists that it ran on sequences: a unit test by the argument `rseq`, a program under the library
by its statistics.
"""

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "vm"))
import image  # pylint: disable=wrong-import-position

QEMU = "qemu-system-aarch64"
META_PACKAGE = "linux-image-cloud-arm64"
PATIENCE = 1800
BOOT_PATIENCE = 600

# thread=multi: a thread for each processor of the guest, so that races are real ones. impdef: pointers
# are signed by a cheaper function.
MACHINE = ["-accel", "tcg,thread=multi", "-machine", "virt", "-cpu", "max,pauth-impdef=on",
           "-smp", "4", "-m", "3072",
           "-object", "memory-backend-ram,id=ram0,size=1536M", "-numa", "node,cpus=0-1,memdev=ram0",
           "-object", "memory-backend-ram,id=ram1,size=1536M", "-numa", "node,cpus=2-3,memdev=ram1",
           "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
KERNEL_OPTIONS = "console=ttyAMA0 quiet panic=-1 mitigations=off nosoftlockup " \
                 "rcupdate.rcu_cpu_stall_suppress=1"

BUILT = ["preload/libslabnode.so.1.0.0", "preload/slabnode-numa.so", "hotplug-sim/slabnode-sim.so"]
LIBC = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"]

# Of core/, what threads do to each other, and what the emulator of programs does not bear; the rest is
# not about sequences.
UNIT = ["stores", "races", "lifecycle", "movable", "movable_races", "notifier_forks", "fault"]
# Rows of tests/preload and tests/races: threads that are preempted, moved, signalled, forked; and what
# the emulator of programs does not bear.
PROGRAMS = {
    "api": ["sweep", "realloc-large", "mixed-names"],
    "cxx": ["containers", "exceptions", "thread-local"],
    "threads": ["first-operation", "free-only", "cross-free", "churn", "crowd", "migration-storm"],
    "signals": ["profile-timer", "direct-signals", "allocating-handler", "fault-and-jump"],
    "fork": ["threads", "atfork", "nested", "vfork-exec", "vfork-malloc",
             "vfork-malloc-threads", "vfork-storm", "posix-spawn"],
    "caches": ["life", "constructor", "threads"],
}
RACES = {
    "races-stores": ["T1-cache-created-in-steps", "T3-free-between", "T4-preempted",
                     "T5-moved-anywhere", "T6-acknowledged"],
    "races-states": ["T8-cancel-in-phases", "T9-two-at-once", "T25-cycles"],
    "races-processes": ["T12-fork-in-phases", "T26-last-free"],
}
SIMULATED = "synthetic:node:4 core:2 pu:1"


class GuestError(Exception):
    """The guest did not start, died, or hangs."""


def under_library(suite, program, row, mode, **env):
    """A test whose program must have run on sequences."""
    name = f"{program}-{row}-{mode}"
    env = dict(env, SLABNODE_STATS="json:/tmp/stats", LD_PRELOAD="$LIB")
    if mode == "sim4":
        env["SLABNODE_TOPOLOGY"] = f'"{SIMULATED}"'
    words = " ".join(f"{key}={value}" for key, value in env.items())
    return name, f"{words} /slabnode/tests/{suite}/{program} {row} && " \
                 """grep -q '"fast_path":"rseq"' /tmp/stats"""


def tests():
    """(name, shell command) of each."""
    for mode in ("nodes", "sim4"):
        for program, rows in PROGRAMS.items():
            yield from (under_library("preload", program, row, mode) for row in rows)
    for program, rows in RACES.items():
        yield from (under_library("races", program, row, "sim4", SLABNODE_CONTROL="on")
                    for row in rows)
    yield from ((f"unit-{name}", f"UNIT_SECONDS={PATIENCE} /slabnode/tests/unit/unit-{name} rseq")
                for name in UNIT)


def targets():
    """What the build has to make, and the guest gets."""
    return [*BUILT, *(f"tests/unit/unit-{name}" for name in UNIT),
            *(f"tests/preload/{program}" for program in PROGRAMS),
            *(f"tests/races/{program}" for program in RACES)]


def write_initramfs(archive, build, libc, libraries, busybox, lines):
    tree = image.Initramfs(archive + ".root")
    tree.add(busybox, "/bin/busybox")
    for name in LIBC:
        tree.add(f"{libc}/lib/{name}", f"/lib/{name}")
    for name in sorted(os.listdir(libraries)):
        if re.search(r"\.so\.\d+$", name):
            tree.add(os.path.join(libraries, name), f"/lib/{name}")
    for name in targets():
        tree.add(os.path.join(build, name), f"/slabnode/{name}")
    tree.add(os.path.join(HERE, "init"), "/init")
    with open(os.path.join(tree.root, "tests"), "w", encoding="ascii") as f:
        f.writelines(f"{name} {command}\n" for name, command in lines)
    tree.write(archive)
    shutil.rmtree(tree.root)


class Console:
    """The lines that the guest prints."""

    def __init__(self, process):
        self.process, self.rest = process, b""

    def line(self, patience):
        deadline = time.monotonic() + patience
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise GuestError(f"nothing for {patience} s")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise GuestError("the machine is off")
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace").strip()


def follow(console, names):
    """Reports the tests as the guest tells of them; whether all passed."""
    fine, lines, started = True, [], False
    while names:
        try:
            line = console.line(PATIENCE if started else BOOT_PATIENCE)
        except GuestError as e:
            print(f"test {names[0]} fail 0 {e}", "\n".join(lines[-40:]), sep="\n", flush=True)
            return False
        started |= line.startswith("@begin")
        done = re.match(r"@end (\S+) (\d+) (\d+)$", line)
        if done is None:
            lines.append(line.removeprefix("@line"))
            continue
        name, status, seconds = done.groups()
        names.remove(name)
        word = {"0": "ok", "77": "skip"}.get(status, "fail")
        print(f"test {name} {word} {seconds} {'' if word == 'ok' else f'status {status}'}", flush=True)
        if word == "fail":
            print("\n".join(lines[-40:]), flush=True)
            fine = False
        lines = []
    return fine


def run(build, libc, libraries, busybox, apt, only=None):
    """Boots the guest and reports its tests. image.Unavailable: it cannot be had here."""
    lines = [test for test in tests() if only is None or re.search(only, test[0])]
    if shutil.which(QEMU) is None:
        raise image.Unavailable(f"{QEMU} is not installed")
    kernel = image.Kernel(os.path.join(build, "vm"), META_PACKAGE, apt)
    with tempfile.TemporaryDirectory() as place:
        archive = os.path.join(place, "initramfs")
        write_initramfs(archive, build, libc, libraries, busybox, lines)
        argv = [QEMU, *MACHINE, "-kernel", kernel.image(), "-initrd", archive,
                "-append", KERNEL_OPTIONS]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                return follow(Console(process), [name for name, _ in lines])
            finally:
                process.kill()
