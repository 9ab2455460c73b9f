"""offline and online with --kernel, over processes and a kernel that the test makes up."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from fake_kernel import FakeKernel, build_shim
from support import HOTPLUGCTL, MockCase, clean_environment
from test_screens import Terminal

FOREVER = [errno.EBUSY] * 1000


class KernelCase(MockCase):
    NODES = {0: 4, 1: 4, 2: 2}

    def setUp(self):
        super().setUp()
        self.kernel = FakeKernel(self.directory, self.NODES)
        self.settings = {"SLABNODE_SYSFS": str(self.kernel.root),
                         "LD_PRELOAD": str(build_shim(self.directory))}

    def run_tool(self, *arguments, timeout=30, **environment):
        return super().run_tool(*arguments, timeout=timeout, **{**self.settings, **environment})

    def begin(self, *words):
        tool = subprocess.Popen([HOTPLUGCTL, *map(str, words)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                env=clean_environment(**self.settings))
        self.addCleanup(self.end_tool, tool)
        return tool

    @staticmethod
    def end_tool(tool):
        if tool.poll() is None:
            tool.kill()
        tool.communicate()

    def until(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen")
            time.sleep(0.02)

    def heap(self, mock, node=1):
        rows = self.expect(0, "-p", mock.pid, "status", "-n", "-o", "node,state").stdout.split()
        return dict(zip(rows[::2], rows[1::2]))[str(node)]

    def expect_as_before(self, *mocks, node=1):
        self.assertEqual(set(self.kernel.states(node)), {"online"})
        for mock in mocks:
            self.assertEqual(self.heap(mock, node), "online")


class KernelOffline(KernelCase):
    def test_heaps_then_blocks(self):
        mocks = [self.start(f"log={self.directory}/log{i}") for i in range(2)]
        done = self.expect(0, "offline", "1", "--kernel", "--max-stall", "7")
        self.assertEqual(done.stderr, "")
        self.assertEqual(self.kernel.states(1), ["offline"] * 4)
        self.assertEqual(self.kernel.log, [(b, "offline") for b in (7, 6, 5, 4)], "from the top")
        for i, mock in enumerate(mocks):
            self.assertRegex(done.stdout, rf"(?m)^ *{mock.pid} +mock +1 +done +offline")
            self.assertEqual((self.directory / f"log{i}").read_text().splitlines(),
                             ["topology", "offline 1 max-stall=7"])
        self.assertIn("\nnode 1: 4 memory blocks (512M), offline in the kernel\n", done.stdout)
        # Once more: nothing to do for anybody.
        done = self.expect(0, "offline", "1", "--kernel")
        self.assertEqual(done.stdout,
                         "node 1: 4 memory blocks (512M), offline in the kernel as before\n")

    def test_json(self):
        mock, mute = self.start(), self.start("mode=nosocket")
        reply = self.expect_json(0, "offline", "1,2", "--kernel")
        self.assertTrue(reply["ok"])
        self.assertEqual(reply["results"][0]["pid"], mock.pid)
        self.assertEqual(len(reply["results"][0]["results"]), 2)
        self.assertEqual([(p["pid"], p["error"]) for p in reply["passive"]],
                         [(mute.pid, "ENOTCONN")])
        self.assertEqual([(k["node"], k["state"], k["blocks"], k["blocks_online"], k["bytes"])
                          for k in reply["kernel"]],
                         [(1, "offline", 4, 0, 512 << 20), (2, "offline", 2, 0, 256 << 20)])

    def test_without_any_process(self):
        self.assertIn("offline in the kernel", self.expect(0, "offline", "1", "--kernel").stdout)

    def test_those_that_cannot_be_asked_are_named(self):
        mute = self.start("mode=nosocket")
        done = self.expect(0, "offline", "1", "--kernel")
        self.assertIn(f"note: pid {mute.pid} (python3) was not asked: no control thread",
                      done.stdout)

    def test_a_process_that_refuses_leaves_all_as_before(self):
        free, busy = self.start(), self.start("busy=1")
        done = self.expect(4, "offline", "1", "--kernel", "--policy", "strict")
        self.assertEqual(self.kernel.log, [])
        self.expect_as_before(free, busy)
        self.assertRegex(done.stdout, rf"(?m)^ *{busy.pid} +mock +1 +EBUSY")
        self.assertIn("node 1: not all processes could leave the node (EBUSY); it is online as before",
                      done.stderr)
        reply = self.expect_json(4, "offline", "1", "--kernel", "--policy", "strict")
        self.assertEqual((reply["ok"], reply["error"], reply["state"], reply["node"]),
                         (False, "EBUSY", "online", 1))
        self.expect_as_before(free, busy)

    def test_only_what_was_taken_comes_back(self):
        away, here = self.start(), self.start()
        self.expect(0, "-p", away.pid, "offline", "1")
        self.kernel.refuse[5] = [errno.ENOMEM]
        self.expect(4, "offline", "1", "--kernel")
        self.assertEqual(self.heap(away), "offline")
        self.expect_as_before(here)

    def test_a_kernel_that_refuses_leaves_all_as_before(self):
        mock = self.start()
        for error, code, words in ((errno.ENOMEM, 4, "no room"), (errno.EINVAL, 3, "zones"),
                                   (errno.EBUSY, 4, "direct I/O")):
            with self.subTest(error=errno.errorcode[error]):
                self.kernel.refuse[5] = [error] * 1000
                done = self.expect(code, "offline", "1", "--kernel")
                self.assertIn("memory block 5 would not go offline", done.stderr)
                self.assertIn(f"({errno.errorcode[error]})", done.stderr)
                self.assertIn(words, done.stderr)
                self.expect_as_before(mock)
                self.assertIn((7, "online_movable"), self.kernel.log)
        self.kernel.path(5, "valid_zones").write_text("Normal Movable\n")
        self.kernel.path(7, "valid_zones").write_text("Normal\n")
        self.kernel.log.clear()
        reply = self.expect_json(4, "offline", "1", "--kernel")
        self.assertEqual((reply["error"], reply["state"]), ("EBUSY", "online"))
        self.assertIn("not in zone Movable", reply["hint"])
        self.assertIn((7, "online_kernel"), self.kernel.log, "as it was")

    def test_busy_blocks_are_tried_again(self):
        self.kernel.refuse = {7: [errno.EBUSY], 5: [errno.EAGAIN, errno.EBUSY]}
        self.expect(0, "offline", "1", "--kernel")
        self.assertEqual([b for b, _ in self.kernel.log], [7, 6, 5, 4, 7, 5, 5])

    def test_the_time_is_over(self):
        mock = self.start()
        self.kernel.slow[5] = 60
        began = time.monotonic()
        done = self.expect(6, "offline", "1", "--kernel", "--timeout", "1")
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("ETIMEDOUT", done.stderr)
        self.until(lambda: self.kernel.state(5) == "online")
        self.expect_as_before(mock)

    def test_interrupted_while_the_kernel_works(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            mock = self.start()
            self.kernel.slow[5] = 60
            tool = self.begin("offline", "1", "--kernel")
            self.until(lambda: self.kernel.state(5) == "going-offline")
            tool.send_signal(how)
            _, err = tool.communicate(timeout=10)
            self.assertEqual(tool.returncode, 5, err)
            self.assertIn("node 1: cancelled (ECANCELED); it is online as before", err)
            self.until(lambda: self.kernel.state(5) == "online")
            self.expect_as_before(mock)

    def test_interrupted_while_a_process_waits(self):
        free, busy = self.start(), self.start("busy=1")
        tool = self.begin("offline", "1", "--kernel", "--policy", "wait")
        self.until(lambda: self.heap(busy) == "going-offline")
        tool.send_signal(signal.SIGINT)
        _, err = tool.communicate(timeout=10)
        self.assertEqual(tool.returncode, 5, err)
        self.assertEqual(self.kernel.log, [])
        self.expect_as_before(free, busy)

    def test_killed_it_leaves_no_writer_behind(self):
        self.kernel.slow[5] = 60
        tool = self.begin("offline", "1", "--kernel")
        self.until(lambda: self.kernel.state(5) == "going-offline")
        tool.kill()
        self.until(lambda: self.kernel.state(5) == "online")

    @unittest.skipUnless(shutil.which("tmux"), "needs tmux")
    def test_progress_and_interrupt_on_a_terminal(self):
        self.start()
        self.kernel.slow[5] = 60
        settings = " ".join(f"{k}={v}" for k, v in self.settings.items())
        screen = Terminal(self, f"env {settings} {HOTPLUGCTL} offline 1 --kernel", 100)
        screen.wait(r"^node 1 kernel +\[#+\.+\] +50%  256M of 512M")
        screen.keys("C-c")
        screen.wait("node 1: cancelled")
        screen.wait("ended with 5")


class KernelChecks(KernelCase):
    """What is refused before anything changes."""

    def test_usage(self):
        pid = self.start(f"log={self.directory}/log").pid
        for words in (["-p", pid, "offline", "1"], ["-s", "x", "online", "1"],
                      ["offline", "1", "--detach"], ["online", "x"], ["offline"],
                      ["offline", "1", "--policy", "x"], ["status"]):
            with self.subTest(words=words):
                self.assertEqual(self.expect(1, *words, "--kernel").stdout, "")
        self.assertFalse((self.directory / "log").exists())

    def test_nodes(self):
        mock = self.start("nodes=4")
        (self.kernel.system / "node" / "node3").mkdir()
        self.assertIn("the kernel has no node 9", self.expect(3, "offline", "9", "--kernel").stderr)
        self.assertIn("no memory blocks", self.expect(3, "offline", "3", "--kernel").stderr)
        self.assertIn("the kernel has no node 9", self.expect(3, "online", "9", "--kernel").stderr)
        done = self.expect(4, "offline", "0-2", "--kernel")
        self.assertIn("no memory would remain", done.stderr)
        self.expect_as_before(mock)
        shutil.rmtree(self.kernel.system)
        self.assertIn("CONFIG_MEMORY_HOTPLUG", self.expect(3, "offline", "1", "--kernel").stderr)

    def test_blocks_that_cannot_leave(self):
        mock = self.start()
        self.kernel.path(6, "removable").write_text("0\n")
        self.assertIn("memory block 6 is not removable",
                      self.expect(4, "offline", "1", "--kernel").stderr)
        self.kernel.path(6, "removable").write_text("1\n")
        self.kernel.path(6, "valid_zones").write_text("none\n")
        self.assertIn("memory block 6 lies in several zones",
                      self.expect(3, "offline", "1", "--kernel").stderr)
        self.expect_as_before(mock)

    def test_read_only(self):
        mock = self.start()
        root = str(self.kernel.root)
        for words in (["--bind", root, root], ["-o", "remount,bind,ro", root, root]):
            if subprocess.run(["mount", *words], check=False).returncode != 0:
                self.skipTest("mounts are not permitted here")
        self.addCleanup(subprocess.run, ["umount", root], check=True)
        done = self.expect(3, "offline", "1", "--kernel")
        self.assertIn("(EROFS)", done.stderr)
        self.assertIn("containers", done.stderr)
        self.expect_as_before(mock)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
    def test_not_root(self):
        os.chmod(self.directory, 0o755)
        done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", HOTPLUGCTL, "offline",
                               "1", "--kernel"], capture_output=True, text=True, check=False,
                              env=clean_environment(**self.settings))
        if "map root user" in done.stderr or done.returncode == 127:
            self.skipTest("users cannot be changed here")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("(EACCES)", done.stderr)
        self.assertIn("changed by root", done.stderr)

    def test_simulated_processes_are_not_the_kernels(self):
        """Without another /sys a simulated process keeps its nodes: they have only the numbers."""
        mock = self.start()
        del self.settings["SLABNODE_SYSFS"]
        self.run_tool("offline", "1", "--kernel")
        self.settings["SLABNODE_SYSFS"] = str(self.kernel.root)
        self.assertEqual(self.heap(mock), "online")


class KernelOnline(KernelCase):
    def test_blocks_then_heaps(self):
        log = self.directory / "log"
        mock = self.start(f"log={log}")
        self.expect(0, "offline", "1", "--kernel")
        self.kernel.log.clear()
        done = self.expect(0, "online", "1", "--kernel", "--rebalance")
        self.assertEqual(self.kernel.log, [(b, "online_movable") for b in (4, 5, 6, 7)])
        self.assertIn("node 1: 4 memory blocks (512M), online in the kernel\n", done.stdout)
        self.assertEqual(log.read_text().splitlines()[-1], "online 1 rebalance=1")
        self.expect_as_before(mock)
        self.assertIn("as before", self.expect(0, "online", "1", "--kernel").stdout)

    def test_where_no_movable_zone_fits(self):
        self.kernel.set_node(1, "offline")
        self.kernel.refuse[4] = [errno.EINVAL]
        self.expect(0, "online", "1", "--kernel")
        self.assertEqual(self.kernel.log[:2], [(4, "online_movable"), (4, "online")])

    def test_a_kernel_that_refuses_leaves_all_as_before(self):
        mock = self.start()
        self.expect(0, "offline", "1", "--kernel")
        self.kernel.refuse[6] = [errno.ENOMEM]
        done = self.expect(4, "online", "1", "--kernel")
        self.assertRegex(done.stderr, "node 1: memory block 6 would not go online: .*; it is offline as before")
        self.assertEqual(self.kernel.states(1), ["offline"] * 4)
        self.assertEqual(self.heap(mock), "offline")


class KernelCommand(KernelCase):
    """As a wrapper around a tool that takes the memory offline."""

    TOOL = """
import os, sys, time
root, blocks, word, code = sys.argv[1:5]
for block in blocks.split(","):
    file = os.open(f"{root}/devices/system/memory/memory{block}/state", os.O_WRONLY)
    os.write(file, word.encode())
    os.close(file)
print("tool done", flush=True)
if code == "wait":
    time.sleep(60)
sys.exit(int(code))
"""

    def tool(self, blocks, word, code):
        return ["--kernel", "--", sys.executable, "-c", self.TOOL, self.kernel.root, blocks, word,
                code]

    def test_offline_and_online(self):
        mock = self.start()
        done = self.expect(0, "offline", "1", *self.tool("4,5,6,7", "offline", 0))
        self.assertIn("tool done", done.stdout)
        self.assertIn("node 1: 4 memory blocks (512M), offline in the kernel\n", done.stdout)
        self.assertEqual(self.heap(mock), "offline")
        self.expect(0, "online", "1", *self.tool("4,5,6,7", "online_movable", 0))
        self.expect_as_before(mock)

    def test_a_part_is_told(self):
        self.start()
        done = self.expect(0, "offline", "1", *self.tool("4,5", "offline", 0))
        self.assertIn("partly online in the kernel", done.stdout)

    def test_a_failure_leaves_all_as_before(self):
        mock = self.start()
        done = self.expect(4, "offline", "1", *self.tool("4,5", "offline", 3))
        self.assertRegex(done.stderr, r"node 1: \S+ ended with 3 \(EBUSY\); it is online as before")
        self.expect_as_before(mock)
        done = self.expect(4, "offline", "1", "--kernel", "--", "no-such-tool", "-x")
        self.assertIn("no-such-tool: No such file", done.stderr)
        self.expect_as_before(mock)

    def test_interrupted(self):
        mock = self.start()
        tool = self.begin("offline", "1", *self.tool("4,5", "offline", "wait"))
        self.until(lambda: self.kernel.state(5) == "offline")
        tool.send_signal(signal.SIGTERM)
        _, err = tool.communicate(timeout=10)
        self.assertEqual(tool.returncode, 5, err)
        self.expect_as_before(mock)
