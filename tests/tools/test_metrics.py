"""hotplugctl metrics: the format, the figures, who is in it, and the dashboard that shows it."""

import json
import re
import socket
import subprocess
import unittest

import openmetrics
from support import HOTPLUGCTL, ROOT, MockCase, clean_environment

DASHBOARD = ROOT / "docs/examples/grafana-dashboard.json"


class Reader(unittest.TestCase):
    """The strict reader is strict."""

    GOOD = ("# TYPE a_bytes gauge\n# UNIT a_bytes bytes\n# HELP a_bytes Some.\n"
            'a_bytes{x="1",y="q\\"\\\\\\n"} 1\na_bytes{x="2"} 2.5e3\n'
            "# TYPE b counter\nb_total 0\n# EOF\n")

    def test_good(self):
        families = openmetrics.parse(self.GOOD)
        self.assertEqual(openmetrics.series(families["a_bytes"], y='q"\\\n'), [1])
        self.assertEqual(openmetrics.series(families["b"]), [0])

    def test_bad(self):
        for old, new in (("# EOF\n", ""), ("# EOF\n", "# EOF"), ("# EOF\n", "\n# EOF\n"),
                         ("b_total 0", "b 0"), ("b_total 0", "b_total -1"),
                         ("b_total 0", "b_total NaN"), ("b_total 0", "b_total x"),
                         ("b_total 0", "b_total  0"), ("b counter", "b_total counter"),
                         ('x="2"', 'x="1",y="q\\"\\\\\\n"'), ('x="2"', 'x="2",x="3"'),
                         ('x="2"', 'x="2",'), ('x="2"', 'x=2'), ('x="2"', 'x="\\t"'),
                         ("bytes bytes", "bytes seconds"), ("bytes gauge", "bytes info"),
                         ("# TYPE b counter", "# TYPE a_bytes counter"),
                         ("# TYPE a_bytes gauge\n", ""), ("# HELP", "# Help"),
                         ("b_total 0", 'b_total 0\na_bytes{x="3"} 1')):
            with self.subTest(new=new):
                self.assertIn(old, self.GOOD)
                with self.assertRaises(openmetrics.FormatError):
                    openmetrics.parse(self.GOOD.replace(old, new))


class Prometheus(MockCase):
    """What the format's own readers read; one process is odd, one is mute, one node is away."""

    def setUp(self):
        super().setUp()
        try:
            # pylint: disable=import-outside-toplevel
            from prometheus_client import parser
            from prometheus_client.openmetrics import parser as openmetrics_parser
        except ImportError:
            self.skipTest("python3-prometheus-client is not installed")
        self.readers = {"OpenMetrics": openmetrics_parser.text_string_to_metric_families,
                        "Prometheus": parser.text_string_to_metric_families}

    def test_their_values_are_ours(self):
        pid = self.start("command=odd\"na\\me\n").pid
        self.start("mode=nosocket")
        self.expect(0, "-p", pid, "offline", "1")
        text = self.expect(0, "metrics", "--caches").stdout
        ours = {(name + ("_total" if family.meta["TYPE"] == "counter" else ""), labels): value
                for name, family in openmetrics.parse(text).items()
                for labels, value in family.samples.items()}
        self.assertGreater(len(ours), 80)
        for name, read in self.readers.items():
            with self.subTest(reader=name):
                theirs = {(sample.name, frozenset(sample.labels.items())): sample.value
                          for family in read(text) for sample in family.samples}
                self.assertEqual(theirs, ours)

    def test_kinds_and_units(self):
        self.start()
        text = self.expect(0, "metrics", "--caches").stdout
        ours = openmetrics.parse(text)
        theirs = {family.name: (family.type, family.unit, family.documentation)
                  for family in self.readers["OpenMetrics"](text)}
        self.assertEqual(theirs, {name: (f.meta["TYPE"], f.meta.get("UNIT", ""), f.meta["HELP"])
                                  for name, f in ours.items()})

    def test_none(self):
        text = self.expect(0, "metrics").stdout
        for read in self.readers.values():
            self.assertFalse([s for family in read(text) for s in family.samples])


class Metrics(MockCase):
    def metrics(self, *arguments, code=0):
        return openmetrics.parse(self.expect(code, *arguments, "metrics").stdout)

    def test_one_process(self):
        pid = self.start("command=odd\"na\\me\n").pid
        self.start()
        families = self.metrics("-p", pid)
        self.assertEqual(openmetrics.series(families["slabnode_process_up"]), [1])
        self.assertEqual(openmetrics.series(families["slabnode_process_up"], pid=pid,
                                            command='odd"na\\me?'), [1])
        self.assertEqual(openmetrics.series(families["slabnode_node_live_bytes"], node=2),
                         [2 * 123456789])
        self.assertEqual(openmetrics.series(families["slabnode_node_numa_hit"], node=3), [900])
        self.assertEqual(len(families["slabnode_node_capacity_bytes"].samples), 4)
        self.assertFalse(families["slabnode_node_transition_seconds"].samples)
        self.assertNotIn("slabnode_cache_active_objects", families)

    def test_states(self):
        pid = self.start().pid
        self.expect(0, "-p", pid, "offline", "1")
        self.expect(0, "-p", pid, "cordon", "2")
        families = self.metrics("-p", pid)
        states = families["slabnode_node_state"]
        for node in range(4):
            self.assertEqual(sorted(openmetrics.series(states, node=node)), [0, 0, 0, 1])
            want = "offline" if node == 1 else "online"
            self.assertEqual(openmetrics.series(states, node=node, state=want), [1])
        self.assertEqual(openmetrics.series(families["slabnode_node_cordoned"], node=2), [1])

    def test_a_transition_under_way(self):
        pid = self.start("busy=1").pid
        self.expect(0, "-p", pid, "offline", "1", "--policy", "wait", "--detach")
        family = self.metrics("-p", pid)["slabnode_node_transition_seconds"]
        self.assertEqual(len(openmetrics.series(family, node=1, action="offline",
                                                phase="waiting")), 1)
        self.expect(0, "-p", pid, "cancel", "1")

    def test_those_that_cannot_be_asked_are_named(self):
        asked, mute = self.start().pid, self.start("mode=nosocket").pid
        denying = self.start("mode=deny").pid
        families = self.metrics()
        up = families["slabnode_process_up"]
        self.assertEqual([openmetrics.series(up, pid=p) for p in (asked, mute, denying)],
                         [[1], [0], [0]])
        problem = families["slabnode_process_problem_info"]
        self.assertEqual(len(problem.samples), 2)
        self.assertEqual(len(openmetrics.series(problem, pid=mute)), 1)
        self.assertRegex(str(problem.samples), "no control thread")
        self.assertRegex(str(problem.samples), "EPERM")

    def test_none_is_an_empty_answer(self):
        families = self.metrics()
        self.assertIn("slabnode_process_up", families)
        self.assertFalse(any(f.samples for f in families.values()))
        self.expect(2, "-p", 2 ** 22 + 1, "metrics")

    def test_caches(self):
        self.start()
        families = openmetrics.parse(self.expect(0, "metrics", "--caches").stdout)
        active = families["slabnode_cache_active_objects"]
        self.assertEqual(openmetrics.series(active, cache="malloc-64", node=3), [30])
        self.assertEqual(openmetrics.series(active, node=0), [], "never used there")
        self.assertEqual(openmetrics.series(families["slabnode_cache_slabs"], node=2,
                                            kind="partial"), [2])

    def ask_http(self, request):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            tool = subprocess.Popen([HOTPLUGCTL, "metrics", "--http"], stdin=theirs, stdout=theirs,
                                    env=clean_environment())
            theirs.close()
            ours.sendall(request)
            if b"\r\n\r\n" not in request:
                ours.shutdown(socket.SHUT_WR)
            answer = b""
            while part := ours.recv(65536):
                answer += part
        self.assertEqual(tool.wait(20), 0)
        head, _, body = answer.decode().partition("\r\n\r\n")
        return head, body

    def test_scrape(self):
        self.start()
        head, body = self.ask_http(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(head.startswith("HTTP/1.1 200 OK\r\n"))
        self.assertIn("application/openmetrics-text; version=1.0.0; charset=utf-8", head)
        self.assertEqual(len(openmetrics.parse(body)["slabnode_node_state"].samples), 16)
        self.assertEqual(self.ask_http(b"HEAD / HTTP/1.1\r\n\r\n")[1], "")
        self.assertIn(" 405 ", self.ask_http(b"POST / HTTP/1.1\r\n\r\n")[0])
        self.assertIn(" 400 ", self.ask_http(b"GET /metrics HTT")[0])

    def test_dashboard(self):
        self.start()
        self.start("mode=nosocket")
        told, labels = set(), {"datasource"}
        for family in openmetrics.parse(self.expect(0, "metrics", "--caches").stdout).values():
            told.add(family.name + ("_total" if family.meta["TYPE"] == "counter" else ""))
            labels |= {name for sample in family.samples for name, _ in sample}
        board = json.loads(DASHBOARD.read_text())
        text = json.dumps(board)
        used = set(re.findall(r"\bslabnode_[a-z_]+", text))
        self.assertGreater(len(used), 10)
        self.assertEqual(used - told, set())
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in board["panels"]:
            self.assertTrue(panel["targets"])
            for target in panel["targets"]:
                asked = re.findall(r'(\w+)(?:=~|!~|!=|=)"', target["expr"]) + \
                    re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))) + \
                    re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
                self.assertEqual(set(asked) - labels, set(), target["expr"])
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
        names = {v["name"] for v in board["templating"]["list"]}
        self.assertEqual(set(re.findall(r"\$\{?([a-z]\w*)", text)) - names, set())
