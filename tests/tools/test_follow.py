"""hotplugctl follow, over processes and a kernel that the test makes up."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

from support import HOTPLUGCTL, clean_environment
from test_kernel import KernelCase
from test_real import PROGRAM, RealCase

DELAY = "0.2"


class FollowCase(KernelCase):
    def follow(self, *words, **environment):
        """The daemon, once it follows; what it says is kept in `lines`."""
        settings = {"SLABNODE_SYSFS": str(self.kernel.root), **environment}
        self.lines = self.directory / "follow.log"
        with open(self.lines, "w", encoding="utf-8") as out:
            daemon = subprocess.Popen([HOTPLUGCTL, "--json", "follow", "--delay", DELAY, *words],
                                      stdout=out, stderr=subprocess.STDOUT,
                                      env=clean_environment(**settings))
        self.addCleanup(self.end_daemon, daemon)
        self.until(lambda: self.said("start"))
        return daemon

    @staticmethod
    def end_daemon(daemon):
        daemon.kill()
        daemon.wait()

    def said(self, event, **fields):
        """The events of that name and with these fields."""
        events = [json.loads(line) for line in self.lines.read_text().splitlines(True)
                  if line.endswith("\n")]
        return [e for e in events if e["event"] == event and
                all(e.get(k) == v for k, v in fields.items())]

    def stays(self, condition, seconds=1.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertTrue(condition(), self.lines.read_text())
            time.sleep(0.1)

    def comes_to(self, mock, state, node=1):
        try:
            self.until(lambda: self.heap(mock, node) == state)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.lines.read_text()}") from e


class Follow(FollowCase):
    def test_a_node_leaves_and_comes_back(self):
        mocks = [self.start() for _ in range(2)]
        self.follow()
        self.kernel.set(7, "going-offline")  # which no event announces
        for mock in mocks:
            self.comes_to(mock, "offline")
        self.kernel.set_node(1, "offline")
        self.until(lambda: self.said("node", node=1, state="away"))
        self.assertEqual([e["state"] for e in self.said("node")], ["leaving", "away"])
        self.stays(lambda: self.heap(mocks[0]) == "offline", 2)
        self.kernel.set_node(1, "online")
        for mock in mocks:
            self.comes_to(mock, "online")
            deeds = self.said("offline", pid=mock.pid) + self.said("online", pid=mock.pid)
            self.assertEqual([(d["node"], d["state"], d["command"]) for d in deeds],
                             [(1, "offline", "mock"), (1, "online", "mock")])
        self.assertEqual([e["state"] for e in self.said("node")], ["leaving", "away", "came"])
        for mock in mocks:
            self.assertEqual(self.heap(mock, 0), "online")

    def test_an_event_is_noticed_at_once(self):
        mock = self.start()
        self.follow("--delay", "20")
        self.kernel.set(7, "offline")
        began = time.monotonic()
        self.comes_to(mock, "offline")
        self.assertLess(time.monotonic() - began, 15)

    def test_an_offline_that_the_kernel_gives_up(self):
        mock = self.start()
        self.follow()
        self.kernel.set(7, "going-offline")
        self.comes_to(mock, "offline")
        self.kernel.set(7, "online")
        self.comes_to(mock, "online")
        self.assertEqual([e["state"] for e in self.said("node")], ["leaving", "stays"])

    def test_a_part_of_a_node_leaves(self):
        mock = self.start()
        self.follow()
        self.kernel.set(7, "offline")
        self.comes_to(mock, "offline")
        self.comes_to(mock, "online")
        node, = self.said("node", state="stays")
        self.assertEqual((node["blocks"], node["blocks_online"]), (4, 3))

    def test_a_node_is_removed_and_another_added(self):
        mock = self.start("nodes=4")
        self.follow()
        self.kernel.set_node(2, "offline")
        self.kernel.remove_node(2)
        self.comes_to(mock, "offline", 2)
        self.expect(0, "-p", mock.pid, "offline", "3")
        self.kernel.add_node(3, 2, state="offline")
        self.stays(lambda: self.heap(mock, 3) == "offline")
        self.kernel.set_node(3, "online")
        self.comes_to(mock, "online", 3)
        self.assertEqual(self.heap(mock, 2), "offline")

    def test_a_node_that_its_cpuset_forbids_is_no_matter(self):
        """Cpusets lose a node together with the kernel: where nothing is on it, nothing is to do."""
        log = self.directory / "log"
        log.touch()
        mock = self.start("barred=1", f"log={log}")
        self.follow()
        self.kernel.set_node(1, "offline")
        self.until(lambda: "offline 1" in log.read_text())
        self.kernel.set_node(2, "offline")
        self.comes_to(mock, "offline", 2)
        self.stays(lambda: log.read_text().count("offline 1") == 1)
        self.assertEqual(self.said("offline", ok=False), [])

    def test_it_begins_when_a_node_is_away(self):
        mock = self.start()
        self.kernel.set_node(1, "offline")
        self.follow()
        self.comes_to(mock, "offline")

    def test_what_an_operator_took_stays_away(self):
        mock, other = self.start(), self.start()
        self.expect(0, "-p", mock.pid, "offline", "1")
        self.follow()
        self.kernel.set(7, "going-offline")
        self.comes_to(other, "offline")
        self.kernel.set(7, "online")
        self.comes_to(other, "online")
        self.stays(lambda: self.heap(mock) == "offline")

    def test_a_process_that_comes_meanwhile(self):
        self.follow()
        self.kernel.set(7, "going-offline")
        self.until(lambda: self.said("node", state="leaving"))
        mock = self.start()
        self.comes_to(mock, "offline")
        gone = self.start()
        self.comes_to(gone, "offline")
        self.end(gone)
        self.kernel.set(7, "online")
        self.comes_to(mock, "online")
        self.assertEqual(self.said("unreachable"), [])

    def test_a_process_that_refuses_is_told_again(self):
        mock = self.start("refusals=2")
        self.follow()
        self.kernel.set(7, "going-offline")
        self.comes_to(mock, "offline")
        refused = self.said("offline", ok=False)
        self.assertEqual([(r["error"], r["pid"], r["retry_ms"]) for r in refused],
                         [("EBUSY", mock.pid, 1000), ("EBUSY", mock.pid, 2000)])

    def test_those_that_cannot_be_asked_delay_nobody(self):
        mute, stopped = self.start("mode=nosocket"), self.start()
        silent, mock = self.start("mode=silent"), self.start()
        stopped.send_signal(signal.SIGSTOP)
        self.follow()
        began = time.monotonic()
        self.kernel.set(7, "going-offline")
        self.comes_to(mock, "offline")
        self.assertLess(time.monotonic() - began, 10)
        self.until(lambda: len(self.said("unreachable")) == 3)
        told = {e["pid"]: e["message"] for e in self.said("unreachable")}
        self.assertEqual(told[mute.pid], "no control thread")
        self.assertIn("stopped", told[stopped.pid])
        self.assertIn("no answer", told[silent.pid])
        stopped.send_signal(signal.SIGCONT)
        self.comes_to(stopped, "offline")
        self.assertEqual(len(self.said("unreachable")), 3, "once each")

    def test_the_end_takes_back_what_is_under_way(self):
        mock = self.start("hold=migrate")
        daemon = self.follow()
        self.kernel.set(7, "going-offline")
        self.comes_to(mock, "going-offline")
        daemon.terminate()
        self.assertEqual(daemon.wait(5), 0)
        self.comes_to(mock, "online")
        self.assertTrue(self.said("end"))

    def test_an_offline_is_recalled_when_the_kernel_gives_up(self):
        mock = self.start("hold=migrate")
        self.follow()
        self.kernel.set(7, "going-offline")
        self.comes_to(mock, "going-offline")
        self.kernel.set(7, "online")
        self.comes_to(mock, "online")
        self.assertEqual(self.said("offline"), [])

    def test_both_run_at_once(self):
        """--kernel and follow do not get into each other's way."""
        mock, other = self.start(), self.start()
        self.follow()
        self.kernel.slow[5] = 1
        self.expect(0, "offline", "1", "--kernel")
        self.until(lambda: self.said("node", state="away"))
        self.expect(0, "online", "1", "--kernel")
        for each in (mock, other):
            self.comes_to(each, "online")
        self.until(lambda: self.said("node", state="came"))
        self.kernel.refuse[5] = [12] * 1000
        self.expect(4, "offline", "1", "--kernel")
        self.until(lambda: self.said("node", state="stays"))
        for each in (mock, other):
            self.comes_to(each, "online")
        self.assertEqual([e for e in self.said("offline") + self.said("online") if not e["ok"]], [])


class FollowLines(FollowCase):
    def daemon(self, *words, **environment):
        daemon = subprocess.Popen([HOTPLUGCTL, "follow", "--delay", DELAY, *words],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=clean_environment(SLABNODE_SYSFS=str(self.kernel.root),
                                                        **environment))
        self.addCleanup(self.end_tool, daemon)
        return daemon

    def test_lines_for_people_and_for_the_journal(self):
        mock = self.start()
        for settings, prefix in (({}, r"\d\d:\d\d:\d\d\.\d{3} "),
                                 ({"JOURNAL_STREAM": "8:1"}, "<[456]>")):
            daemon = self.daemon(**settings)
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}following nodes 0,1,2: 10 "
                             "memory blocks, 1 process\n$")
            self.kernel.set(7, "going-offline")
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}node 1: leaving, 3 of 4 memory "
                             r"blocks online \(384M\), 1 going offline\n$")
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}node 1: pid {mock.pid} "
                             r"\(mock\): offline, 4K moved, 1\.5 ms\n$")
            self.kernel.set(7, "online")
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}node 1: stays, 4 of 4 ")
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}node 1: pid {mock.pid} "
                             r"\(mock\): online, 0\.5 ms\n$")
            daemon.send_signal(signal.SIGINT)
            self.assertRegex(daemon.stdout.readline(), rf"^{prefix}ended\n$")
            self.assertEqual((daemon.wait(5), daemon.stderr.read()), (0, ""))

    def test_the_service_manager_is_told(self):
        path = self.directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(10)
            daemon = self.daemon(NOTIFY_SOCKET=str(path))
            self.assertEqual(manager.recv(100), b"READY=1")
            daemon.terminate()
            self.assertEqual(manager.recv(100), b"STOPPING=1")
            self.assertEqual(daemon.wait(5), 0)

    def test_usage(self):
        for words in (["-p", "1"], ["-s", "x"], ["--delay", "0"], ["--delay", "x"], ["1"],
                      ["--timeout", "999999"], ["--policy", "wait"]):
            with self.subTest(words=words):
                self.assertEqual(self.expect(1, "follow", *words).stdout, "")
        done = self.expect(3, "follow", SLABNODE_SYSFS=str(self.directory))
        self.assertIn("no memory blocks", done.stderr)


class FollowReal(FollowCase, RealCase):
    """With the library itself, on simulated nodes."""

    NODES = {0: 2, 1: 2, 2: 2, 3: 2}
    LARGE = 1 << 20

    def setUp(self):
        KernelCase.setUp(self)
        self.subjects = [self.begin(f"LARGE = {self.LARGE}\n" + PROGRAM) for _ in range(2)]

    begin = RealCase.begin

    def test_a_node_leaves_and_comes_back(self):
        self.follow()
        self.kernel.set_node(2, "offline")
        for subject in self.subjects:
            self.comes_to(subject, "offline", 2)
            deed, = self.said("offline", pid=subject.pid)
            self.assertGreater(deed["migrated_bytes"], 1 << 20)
        self.kernel.set_node(2, "online")
        for subject in self.subjects:
            self.comes_to(subject, "online", 2)


CPUSETS = pathlib.Path("/sys/fs/cgroup")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class FollowCpuset(FollowCase):
    """A cpuset cannot be had everywhere; /proc/PID/status is made up instead, by a mount."""

    def set_allowed(self, pid, nodes):
        self.made_up.write_text(self.status.replace(self.now, f"Mems_allowed_list:\t{nodes}\n"))

    def test_nodes_are_lost_and_got(self):
        mock = self.start()
        path = pathlib.Path(f"/proc/{mock.pid}/status")
        self.status = path.read_text()
        self.now = next(line for line in self.status.splitlines(True)
                        if line.startswith("Mems_allowed_list"))
        self.made_up = self.directory / "status"
        self.set_allowed(mock.pid, "0-2")
        if subprocess.run(["mount", "--bind", self.made_up, path], check=False).returncode != 0:
            self.skipTest("mounts are not permitted here")
        self.addCleanup(subprocess.run, ["umount", str(path)], check=True)
        self.follow()
        self.set_allowed(mock.pid, "0,2")
        self.comes_to(mock, "offline")
        self.assertEqual([(e["pid"], e["lost"], e["gained"]) for e in self.said("cpuset")],
                         [(mock.pid, [1], [])])
        self.set_allowed(mock.pid, "0-2")
        self.comes_to(mock, "online")
        self.assertEqual(self.said("cpuset")[1]["gained"], [1])
        # A node that goes away is no matter of cpusets.
        self.kernel.set_node(2, "offline")
        self.set_allowed(mock.pid, "0-1")
        self.comes_to(mock, "offline", 2)
        self.stays(lambda: len(self.said("cpuset")) == 2)
