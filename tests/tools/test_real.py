"""hotplugctl with the library itself: shapes of replies, pictures, figures that agree, Ctrl-C."""

import json
import pathlib
import re
import shutil
import subprocess
import unittest
import xml.etree.ElementTree

import openmetrics
from support import BUILD, MockCase, SLABNODE_RUN, HOTPLUGCTL, clean_environment
from test_screens import Terminal

# Each thread holds small objects and a large block on its own node, and says when it does.
PROGRAM = """
import threading, time
held, ready = [], threading.Barrier(5)
def work():
    held.append([bytes(200) for _ in range(4000)] + [b"x" * LARGE])
    ready.wait()
    time.sleep(600)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
ready.wait()
print("ready", flush=True)
time.sleep(600)
"""

NUMBER, TEXT, LIST, FLAG = (int, float), str, list, bool
NODE = {"node": NUMBER, "state": TEXT, "cordoned": FLAG, "cpus": TEXT, "live_bytes": NUMBER,
        "cached_bytes": NUMBER, "slabs": NUMBER, "large_bytes": NUMBER, "resident_bytes": NUMBER,
        "elsewhere_bytes": NUMBER, "other_bytes": NUMBER, "numa_hit": NUMBER, "numa_miss": NUMBER,
        "numa_foreign": NUMBER, "fallback": LIST}
STATUS = {"pid": NUMBER, "topology": TEXT, "fast_path": TEXT, "fast_path_reason": TEXT,
          "placement": TEXT, "placement_reason": TEXT, "nodes": LIST}
OFFLINE = {"node": NUMBER, "state": TEXT, "policy": TEXT, "drained_objects": NUMBER,
           "released_bytes": NUMBER, "evicted_objects": NUMBER, "migrated_bytes": NUMBER,
           "unmovable": LIST, "elapsed_ms": NUMBER, "max_stall_ms": NUMBER}
REFUSAL = {"ok": FLAG, "error": TEXT, "message": TEXT, "node": NUMBER, "state": TEXT,
           "holders": LIST}
HOLDER = {"cache": TEXT, "objects": NUMBER, "slabs": NUMBER, "bytes": NUMBER}
CACHE = {"cache": TEXT, "node": NUMBER, "object_size": NUMBER, "active_objects": NUMBER,
         "total_objects": NUMBER, "objects_per_slab": NUMBER, "slabs_full": NUMBER,
         "slabs_partial": NUMBER, "slabs_free": NUMBER, "cpu_arrays": NUMBER, "shared": NUMBER,
         "alien": NUMBER}
EVENT = {"seq": NUMBER, "time": NUMBER, "node": NUMBER, "from": TEXT, "to": TEXT, "action": TEXT,
         "cause": TEXT}
PROCESS = {"pid": NUMBER, "command": TEXT, "socket": TEXT, "nodes_online": NUMBER, "nodes": NUMBER,
           "live_bytes": NUMBER, "cached_bytes": NUMBER}


@unittest.skipUnless((BUILD / "preload" / "libslabnode.so").exists(), "the library is not built")
class RealCase(MockCase):
    TOPOLOGY = "synthetic:node:4 core:2 pu:1"
    CAPACITY = "512M"
    LARGE = 1 << 20

    def setUp(self):
        super().setUp()
        self.pid = self.begin(f"LARGE = {self.LARGE}\n" + PROGRAM).pid

    def begin(self, program, **environment):
        settings = {"SLABNODE_RUNDIR": str(self.rundir), "SLABNODE_CONTROL": "on",
                    "SLABNODE_TOPOLOGY": self.TOPOLOGY, "SLABNODE_NODE_CAPACITY": self.CAPACITY}
        env = clean_environment(**{**settings, **environment})
        subject = subprocess.Popen([SLABNODE_RUN, "--", "/usr/bin/python3", "-c", program], env=env,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, subject)
        self.assertEqual(subject.stdout.readline(), "ready\n")
        return subject


class Shapes(RealCase):
    """The JSON that scripts rely on."""

    def check(self, shape, value):
        for name, kind in shape.items():
            self.assertIn(name, value)
            self.assertIsInstance(value[name], kind, name)

    def test_list(self):
        found = self.expect_json(0, "list")["processes"]
        self.assertEqual([p["pid"] for p in found], [self.pid])
        self.check(PROCESS, found[0])
        self.assertEqual((found[0]["nodes"], found[0]["command"]), (4, "python3"))

    def test_status(self):
        status = self.expect_json(0, "status")
        self.check(STATUS, status)
        for node in status["nodes"]:
            self.check(NODE, node)
            self.assertEqual(node["capacity_bytes"], 512 << 20)
            self.assertGreater(node["live_bytes"], 1 << 20)
        result, = self.expect_json(0, "-a", "status")["results"]
        self.check(STATUS, result)

    def test_offline_and_online(self):
        reply = self.expect_json(0, "offline", "1")
        self.check(OFFLINE, reply)
        self.assertEqual((reply["node"], reply["state"], reply["policy"]), (1, "offline", "migrate"))
        self.assertEqual(self.expect_json(0, "online", "1", "--rebalance")["state"], "online")

    def test_each_reply_has_its_own_figures(self):
        outcome = {"ok", "node", "state", "already"}
        online = outcome | {"migrated_bytes", "unmovable", "elapsed_ms", "max_stall_ms",
                            "elsewhere_bytes"}
        self.assertEqual(set(self.expect_json(0, "cordon", "2")), outcome | {"cordoned"})
        self.assertEqual(set(self.expect_json(0, "uncordon", "2")), outcome | {"cordoned"})
        self.assertEqual(set(self.expect_json(0, "cancel", "2")), outcome | {"note"})
        self.expect(0, "offline", "1")
        reply = self.expect_json(0, "online", "1")
        self.assertEqual(set(reply), online)
        self.assertEqual(reply["migrated_bytes"], 0)
        self.assertGreater(reply["elsewhere_bytes"], 1 << 20)
        back = self.expect_json(0, "online", "1", "--rebalance")
        self.assertEqual((back["migrated_bytes"], back["elsewhere_bytes"], back["already"]),
                         (reply["elsewhere_bytes"], 0, True))
        self.assertNotIn("note", back)
        self.assertIn("note", self.expect_json(0, "online", "1", "--rebalance"))

    def test_a_refusal_tells_whose_pages_it_moved(self):
        self.expect(0, "offline", "1", "--to", "2")
        plan = self.expect_json(0, "plan", "2")
        reply = self.expect_json(4, "offline", "2", "--policy", "strict")
        self.assertGreater(reply["guest_bytes"], 1 << 20)
        self.assertEqual(reply["guest_bytes"], reply["migrated_bytes"])
        self.assertAlmostEqual(reply["guest_bytes"], plan["guest_bytes"], delta=65536)
        self.assertLess(plan["guest_bytes"], plan["to_move_bytes"])

    def test_what_did_not_move_until_the_time_was_over(self):
        self.expect(0, "fault", "move-busy%100")
        reply = self.expect_json(6, "offline", "1", "--timeout", "0.5")
        self.assertEqual([row["reason"] for row in reply["unmovable"]], ["pinned"])
        self.assertGreater(reply["unmovable"][0]["pages"], 100)
        done = self.expect(6, "offline", "1", "--timeout", "0.5")
        self.assertRegex(done.stdout, r"(?m)^  unmovable +\d+ pages: pinned$")
        self.assertIn("node 1: timed out: ", done.stderr)
        self.assertIn("a longer --timeout", done.stderr)
        self.expect(0, "fault", "off")
        self.expect(0, "fault", "move-busy%40")
        self.assertEqual(self.expect_json(0, "offline", "1")["unmovable"], [], "in the end all moved")

    def test_a_request_against_one_under_way(self):
        self.expect(0, "offline", "1", "2", "--policy", "wait", "--detach")
        done = self.expect(4, "online", "1")
        self.assertIn("node 1 is going offline: the opposite request (EBUSY)", done.stderr)
        self.assertIn(f"'hotplugctl -p {self.pid} cancel 1' takes the offline back", done.stderr)
        self.assertNotIn("as before", done.stderr)
        self.assertRegex(self.expect(0, "why", "1").stdout, r"(?m)^under way: offline, policy wait, "
                         r"phase \w+, for \d+ ms, waiting for objects$")
        self.expect(0, "cancel", "1")
        self.expect(0, "cancel", "2")

    def test_refusal(self):
        reply = self.expect_json(4, "offline", "1", "--policy", "strict")
        self.check(REFUSAL, reply)
        self.assertEqual((reply["ok"], reply["error"], reply["state"]), (False, "EBUSY", "online"))
        for holder in reply["holders"]:
            self.check(HOLDER, holder)
        self.assertEqual(self.expect_json(6, "offline", "1", "--policy", "wait", "--timeout",
                                          "0.2")["error"], "ETIMEDOUT")
        self.assertEqual(self.expect_json(3, "offline", "9")["error"], "ENODEV")
        self.assertEqual(len(self.expect_json(4, "offline", "0-3")["results"]), 4)

    def test_slabinfo_and_events(self):
        for cache in self.expect_json(0, "slabinfo")["caches"]:
            self.check(CACHE, cache)
        self.assertEqual({c["node"] for c in self.expect_json(0, "slabinfo", "2")["caches"]}, {2})
        self.expect(0, "offline", "1")
        lines = self.expect(0, "--json", "events", "--no-follow").stdout.splitlines()
        events = [event for event in map(json.loads, lines) if "seq" in event]
        self.assertEqual([event["to"] for event in events], ["going-offline", "offline"])
        for event in events:
            self.check(EVENT, event)


class Agreement(RealCase):
    def test_metrics_are_the_status(self):
        status = self.expect_json(0, "status")
        families = openmetrics.parse(self.expect(0, "metrics", "--caches").stdout)
        for node in status["nodes"]:
            for name in ("live", "resident", "capacity"):
                value, = openmetrics.series(families[f"slabnode_node_{name}_bytes"],
                                            node=node["node"], pid=self.pid)
                self.assertAlmostEqual(value, node[f"{name}_bytes"], delta=65536)
        info = next(iter(families["slabnode_process_info"].samples))
        self.assertLess({("topology", "synthetic"), ("placement", "simulated")}, info)
        self.assertGreater(len(families["slabnode_cache_active_objects"].samples), 10)

    def test_a_machine_with_one_node_is_what_the_system_says(self):
        pid = self.begin("import time\nprint('ready', flush=True)\ntime.sleep(600)",
                         SLABNODE_TOPOLOGY="auto").pid
        if self.expect_json(0, "-p", pid, "status")["placement_reason"] != "one node":
            self.skipTest("this machine has several nodes")
        online = pathlib.Path("/sys/devices/system/cpu/online").read_text(encoding="ascii").strip()
        total = re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)
        node, = self.expect_json(0, "-p", pid, "topology")["nodes"]
        self.assertEqual((node["cpus"], node["size_bytes"]), (online, int(total) << 10))
        self.assertTrue(0 < node["free_bytes"] < node["size_bytes"])
        self.assertEqual(self.expect_json(0, "-p", pid, "status")["nodes"][0]["cpus"], online)

    def test_a_process_without_control_thread_is_named(self):
        other = self.begin('print("ready", flush=True); import time; time.sleep(600)',
                           SLABNODE_CONTROL="off")
        families = openmetrics.parse(self.expect(0, "metrics").stdout)
        self.assertEqual(openmetrics.series(families["slabnode_process_up"], pid=other.pid), [0])
        self.assertEqual(openmetrics.series(families["slabnode_process_problem_info"],
                                            pid=other.pid,
                                            problem="no control thread: SLABNODE_CONTROL=off",
                                            command="python3"), [1])
        self.assertEqual(openmetrics.series(families["slabnode_process_up"], pid=self.pid), [1])

    @unittest.skipUnless(shutil.which("tmux"), "needs tmux")
    def test_the_screen_shows_the_status(self):
        screen = Terminal(self, f"{HOTPLUGCTL} -p {self.pid} top", 100, 30)
        screen.wait(r"^malloc-")
        self.expect(0, "offline", "2")
        screen.wait(r"^> .*node 2: going-offline -> offline  migrate")
        text = screen.wait(r"^> +2 offline")
        live = self.expect(0, "status", "-n", "-o", "node,live").stdout.split()
        shown = re.findall(r"(?m)^>? +(\d) \S+ +\[[#+.]+\] +(\S+)", text)
        self.assertEqual([x for pair in shown for x in pair], live)
        screen.resize(140, 30)
        text = screen.wait(r"NODE STATE .*LIVE +CACHED +RESIDENT +ELSEWHERE +FREE +LOCAL%$")
        away = self.expect(0, "status", "-n", "-o", "node,elsewhere").stdout.split()[5]
        self.assertRegex(text, rf"(?m)^. +2 offline.*\] +\S+ +\S+ +0 +{re.escape(away)} ")


@unittest.skipUnless(shutil.which("tmux"), "needs tmux")
class RealInterrupt(RealCase):
    LARGE = 32 << 20

    def test_ctrl_c_in_the_middle_of_moving(self):
        self.expect(0, "fault", "delay:move=100%100")
        screen = Terminal(self, f"{HOTPLUGCTL} -p {self.pid} offline 1 --max-stall 1", 100)
        text = screen.wait(r"^node 1 migrate +\[#*\.*\] +\d+%  \S+ of \S+M")
        screen.keys("C-c")
        screen.wait("cancelled: node 1 is back")
        screen.wait("ended with 5")
        self.assertNotIn("ended", text)
        self.expect(0, "fault", "off")
        status = self.expect_json(0, "status")
        self.assertEqual(status["nodes"][1]["state"], "online")


@unittest.skipUnless(shutil.which("lstopo") or shutil.which("lstopo-no-graphics"), "needs lstopo")
class Picture(RealCase):
    def draw(self, name, pid=None):
        file = self.directory / name
        self.expect(0, "-p", pid or self.pid, "topology", "--draw", file)
        return file.read_bytes()

    def test_states_and_bytes(self):
        self.expect(0, "offline", "1")
        self.expect(0, "cordon", "2")
        xml.etree.ElementTree.fromstring(self.draw("nodes.svg"))
        words = self.draw("nodes.txt").decode()
        self.assertEqual(len(re.findall(r"│ online │", words)), 2)
        self.assertRegex(words, r"│ offline │")
        self.assertRegex(words, r"│ online, cordoned │")
        for node, live in re.findall(r"(\d)\s+(\S+)", self.expect(
                0, "status", "-n", "-o", "node,live").stdout):
            self.assertIn(f"live {live} ", words, node)
        self.assertRegex(words, r"NUMANode P#3 \(512MB\)")
        self.assertEqual(len(re.findall(r"PU P#\d", words)), 8)
        self.assertIn("green: online", words)
        self.assertIn(f"process {self.pid} python3", words)

    def test_formats(self):
        self.assertTrue(self.expect(0, "topology", "--draw", "-").stdout.startswith("<?xml"))
        if shutil.which("lstopo"):
            self.assertEqual(self.draw("nodes.png")[:4], b"\x89PNG")
        done = self.expect(1, "topology", "--draw", "nodes.gif")
        self.assertIn(".svg", done.stderr)
        self.expect(1, "-a", "topology", "--draw", "nodes.svg")
        self.expect(2, "topology", "--draw", "/nowhere/nodes.svg")
        self.assertIn("hwloc", self.expect(2, "topology", "--draw", "-", PATH="/nowhere").stderr)

    def test_odd_topologies(self):
        for topology, capacity, nodes in (("synthetic:node:1 pu:1", "", 1),
                                          ("synthetic:node:40 pu:2", "", 40),
                                          ("synthetic:pack:2 [numa] [numa] pu:2", "0:1G", 4)):
            with self.subTest(topology=topology):
                self.TOPOLOGY, self.CAPACITY = topology, capacity
                pid = self.begin('print("ready", flush=True); import time; time.sleep(600)').pid
                words = self.draw("odd.txt", pid).decode()
                self.assertEqual(len(re.findall(r"NUMANode P#", words)), nodes)
                self.assertEqual(len(re.findall(r"│ online +│", words)), nodes)
