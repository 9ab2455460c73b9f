#!/usr/bin/python3
"""The tests that run in guests, for tests/harness: suite.py --build DIR BOOT [TEST...]

A row of the harness is a boot: a guest of one shape and the tests that share it. Each test is a
function that gets the guest; what it returns is shown beside its verdict. A line for each:

    test NAME ok|fail|skip SECONDS TEXT
"""

import argparse
import collections
import os
import sys
import tempfile
import time
import traceback

import ask
import cooperation
import follow
import guest
import image
import placement
import migration
import removal
from shapes import SHAPES

SKIP_STATUS = 77

Boot = collections.namedtuple("Boot", "shape tests extra", defaults=([],))

PEERS = ["/usr/lib/x86_64-linux-gnu/" + name for name in placement.PEERS.values()]
RACES = ["tests/races/races-pages"]

BOOTS = {
    "placement": Boot("two-nodes", placement.TESTS),
    "peers": Boot("two-nodes", placement.PEER_FIGURES, [p for p in PEERS if os.path.exists(p)]),
    "four-nodes": Boot("four-nodes", placement.SHAPE_TESTS),
    "memory-only": Boot("memory-only", placement.SHAPE_TESTS + placement.MEMORY_ONLY_TESTS),
    "holes": Boot("holes", placement.SHAPE_TESTS),
    "migration": Boot("two-nodes", migration.TESTS),
    "migration-long": Boot("two-nodes", migration.LONG_TESTS, RACES),
    "removal": Boot("hotplug", removal.TESTS, removal.PROGRAMS),
    "removal-long": Boot("hotplug", removal.LONG_TESTS, removal.PROGRAMS),
    "follow": Boot("hotplug", follow.TESTS, follow.PROGRAMS),
    "follow-long": Boot("hotplug", follow.LONG_TESTS, follow.PROGRAMS),
    "cooperation": Boot("hotplug", cooperation.TESTS, removal.PROGRAMS),
    "cooperation-long": Boot("hotplug", cooperation.LONG_TESTS, removal.PROGRAMS + [
        p for p in cooperation.EXTRA if os.path.exists(p)]),
}


def run_test(machine, test):
    start = time.monotonic()
    try:
        verdict, text, details = "ok", test(machine) or "", ""
    except ask.Skip as e:
        verdict, text, details = "skip", str(e), ""
    except (AssertionError, guest.GuestError, guest.qmp.QmpError) as e:
        lines = (str(e) or traceback.format_exc()).splitlines()
        verdict, text, details = "fail", lines[0], "\n".join(lines[1:])
    name = test.__name__.replace("_", "-")
    print(f"test {name} {verdict} {time.monotonic() - start:.1f} {text}", flush=True)
    if details:
        print(details, flush=True)
    return verdict != "fail"


def run_boot(boot, build, only):
    good = True
    extra = [p if p.startswith("/") else os.path.join(build, p) for p in boot.extra]
    with tempfile.TemporaryDirectory() as place:
        kernel = image.Kernel(os.path.join(build, "vm"))
        archive = os.path.join(place, "initramfs")
        image.build_initramfs(kernel, build, archive, extra)
        with guest.Guest(SHAPES[boot.shape], kernel, archive) as machine:
            for test in boot.tests:
                if only and test.__name__.replace("_", "-") not in only:
                    continue
                if machine.process.poll() is not None:
                    print("test the-guest fail 0 it died")
                    good = False
                    break
                good &= run_test(machine, test)
            if not good:
                print("the guest's console:\n" + machine.console())
    return good


def main():
    p = argparse.ArgumentParser(description="runs the tests of one guest")
    p.add_argument("--build", default=os.path.join(image.SOURCE, "build"))
    p.add_argument("--list", action="store_true", help="name the boots and run nothing")
    p.add_argument("boot", nargs="?", choices=BOOTS)
    p.add_argument("test", nargs="*")
    args = p.parse_args()
    if args.list or not args.boot:
        print("\n".join(BOOTS))
        return 0
    try:
        return 0 if run_boot(BOOTS[args.boot], os.path.abspath(args.build), args.test) else 1
    except guest.GuestError as e:
        print(f"test the-guest fail 0 {e}")
        return 1
    except image.Unavailable as e:
        print(f"skip: {e}")
        return SKIP_STATUS


if __name__ == "__main__":
    sys.exit(main())
