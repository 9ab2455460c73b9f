#!/usr/bin/python3
"""The library makes the system calls that docs/system-calls.md lists, and no others.

    syscalls.py ROW | --list

A program runs under strace, which shows the stack of each call: the library's are those with one of
its own functions on it, and all that its threads make. Each call has to be in the list; each in the
list has to be seen, unless the list says that it needs what is not here.
"""

import collections
import re
import shutil
import subprocess
import sys
import time

from prefix import FOUR_NODES, SOURCE, fail, installed, run, skip

PAGE = SOURCE / "docs/system-calls.md"
OWN = re.compile(r"/(libslabnode\.so|slabnode-\w+\.so|libhwloc|libnuma)")
REQUESTS = ["status", "offline 1", "why 0", "plan 2", "online 1 --rebalance", "drain", "slabinfo",
            "events --no-follow", "cordon 2", "uncordon 2", "offline 2 --policy wait --timeout 0.2",
            "offline 3 --whole-process", "online 2 3", "topology", "options", "version"]


def listed():
    """call -> whether this test can make the library use it."""
    out = {}
    for calls, _, here in re.findall(r"^\| (`.*?) \| (.*?) \| (yes|no: .*?) \|$", PAGE.read_text(), re.M):
        for call in re.findall(r"`(\w+)`", calls):
            out[call] = out.get(call, False) or here == "yes"
    if len(out) < 20:
        fail(f"{PAGE.name}: only {sorted(out)} were understood")
    return out


def parse(trace):
    """(thread, call, arguments, stack) of each call; what was interrupted comes with its end."""
    begun, call = {}, None
    for line in trace.read_text(errors="replace").splitlines():
        if line.startswith(" > "):
            if call:
                call[3].append(line)
            continue
        if call:
            yield call
        call = None
        found = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)", line)
        if not found:
            continue
        thread, name, how, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest
            continue
        call = (thread, name, begun.pop(thread, "") + rest if how != "(" else rest, [])
    if call:
        yield call


def of_the_library(trace):
    """call -> one of its stacks, of those that are the library's."""
    calls = list(parse(trace))
    # libc's part of a thread's start and end has no function of the library on its stack.
    threads = {t for t, name, arguments, _ in calls if name == "prctl" and '"slabnode-' in arguments}
    out = collections.defaultdict(str)
    for thread, name, _, stack in calls:
        if thread in threads or any(OWN.search(frame) for frame in stack):
            out[name] = out[name] or "\n".join(stack[:8]) or f"thread {thread}"
    if len(out) < 5:
        fail(f"strace shows hardly anything of the library: {dict(out)}")
    # The stack of a call that has two returns cannot be followed.
    if threads:
        out["clone3"] = "the start of a thread"
    return out


def strace(p, trace, *argv, **env):
    return subprocess.Popen(
        ["strace", "-f", "-k", "-qq", "-o", trace, "-E", f"LD_PRELOAD={p.lib}/libslabnode.so.1", *argv],
        env=p.env(LD_LIBRARY_PATH="", **env), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)


def asked(p, program, trace, **env):
    """The program while it is asked everything."""
    with strace(p, trace, program, SLABNODE_CONTROL="on", **env) as tracer:
        try:
            ready = re.fullmatch(r"ready (\d+)\n", tracer.stdout.readline())
            if not ready:
                fail("the program did not get ready")
            socket = p.rundir / f"{ready.group(1)}.sock"
            for request in REQUESTS:
                done = subprocess.run([p.hotplugctl, "-s", socket, *request.split()], timeout=60,
                                      capture_output=True, text=True, check=False)
                if done.returncode not in (0, 4, 6):
                    fail(f"{request}: {done.returncode}", done.stdout, done.stderr)
                tracer.stdin.write(".")
                tracer.stdin.flush()
            time.sleep(1.5)  # one round of the reaper
            tracer.stdin.close()
            tracer.wait(60)
        finally:
            tracer.kill()


def seen(p):
    program = p.root / "load"
    run(["cc", "-O1", "-fno-builtin", "-o", program, SOURCE / "tests/install/load.c", "-pthread"])
    out = {}

    def add(trace):
        for name, stack in of_the_library(trace).items():
            out.setdefault(name, stack)

    asked(p, program, p.root / "simulated", SLABNODE_TOPOLOGY=FOUR_NODES, SLABNODE_SAMPLE="256K")
    add(p.root / "simulated")
    for form in ("exit", f"json:{p.root}/figures"):
        trace = p.root / "real"
        with strace(p, trace, program, SLABNODE_TOPOLOGY="auto", SLABNODE_STATS=form) as tracer:
            tracer.communicate(timeout=60)
        add(trace)
    with strace(p, p.root / "died", program, "die") as tracer:
        tracer.communicate(timeout=60)
    add(p.root / "died")
    return out


def in_the_list():
    if not shutil.which("strace"):
        skip("strace is not installed")
    with installed() as p:
        may = subprocess.run(["strace", "-k", "-o", p.root / "may", "true"], capture_output=True,
                             text=True, check=False)
        if may.returncode != 0:
            skip("strace shows no stacks here: " + may.stderr.strip())
        have, want = seen(p), listed()
        if set(want) - set(have):  # strace loses stacks now and then
            have = {**seen(p), **have}
    lines = [f"{call} is not in the list:\n{have[call]}" for call in sorted(set(have) - set(want))]
    lines += [f"{call} is listed, but was not seen" for call in sorted(want)
              if want[call] and call not in have]
    if lines:
        fail(*lines)


ROWS = {"in-the-list": in_the_list}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: syscalls.py ROW | --list")
