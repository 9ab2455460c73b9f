#!/usr/bin/python3
"""The tests of hotplugctl and slabnode-run as rows of the harness.

    run.py ROW | --list

A row is a class of tests. hotplugctl acts on every process of the machine that runs with the library
where `-a` or nothing says which, so each row runs in a pid namespace of its own, with its own /proc:
it sees its own processes only, and nobody else's see it.
"""

import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("test_hotplugctl", "test_follow", "test_kernel", "test_metrics", "test_screens", "test_real")
INSIDE = "TEST_OWN_PROCESSES"


def rows():
    """row -> class; ExitCodes is exit-codes."""
    found = {}
    for module in MODULES:
        for name, item in vars(__import__(module)).items():
            if isinstance(item, type) and item.__module__ == module \
                    and issubclass(item, unittest.TestCase) \
                    and unittest.defaultTestLoader.getTestCaseNames(item):
                found[re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()] = item
    return found


def isolate(row):
    """Runs this row again in its own namespaces: as root, or as the root of a user namespace."""
    common = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    for more in ([], ["--user", "--map-root-user"]):
        if subprocess.run(["unshare", *more, *common, "true"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            os.environ[INSIDE] = "1"
            os.execvp("unshare", ["unshare", *more, *common, sys.executable, __file__, row])
    print("skip: pid namespaces are not permitted here")
    sys.exit(77)


def main():
    sys.path.insert(0, HERE)
    if sys.argv[1:] == ["--list"]:
        print("\n".join(rows()))
        return
    if INSIDE not in os.environ:
        isolate(sys.argv[1])
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(rows()[sys.argv[1]])
    done = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    if done.skipped and len(done.skipped) == done.testsRun:
        print("skip:", done.skipped[0][1])
        sys.exit(77)
    sys.exit(not done.wasSuccessful())


main()
