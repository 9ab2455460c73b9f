#!/usr/bin/env python3
"""The control socket, driven from outside: wire format, order of replies, and what clients that
are slow, silent, rude, dead or somebody else's may do.  The process is fake_core, a program with
the real control thread over an imitation of the allocator.

Usage: test_control.py FAKE_CORE [unittest arguments]
"""
import json
import os
import pwd
import resource
import select
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

FAKE_CORE = ""
PATIENCE = 10


class Client:
    """One connection; reads lines."""

    def __init__(self, path, hello=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.path = path
        directory, name = os.path.split(path)
        fd = -1
        if len(path) > 100:
            fd = os.open(directory, os.O_RDONLY)
            path = f"/proc/self/fd/{fd}/{name}"
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        self.buffer = b""
        self.hello = self.read() if hello else None

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def read(self):
        """The next object; None at the end."""
        while b"\n" not in self.buffer:
            got = self.socket.recv(65536)
            if not got:
                assert not self.buffer, f"half a line: {self.buffer!r}"
                return None
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line.decode("utf-8"))

    def ask(self, line):
        """The final reply; progress lines are collected."""
        self.send(line + "\n")
        return self.reply()

    def reply(self):
        self.progress = []
        while True:
            answer = self.read()
            if answer is None or "progress" not in answer:
                return answer
            self.progress.append(answer["progress"])

    def close(self):
        self.socket.close()


class Process:
    """A running fake_core."""

    def __init__(self, rundir, mode="", before=None, **more):
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [FAKE_CORE, rundir, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.stderr, text=True, preexec_fn=before, **more)
        self.pid = self.process.pid
        self.path = f"{rundir}/{self.pid}.sock"
        self.clients = []
        assert self.process.stdout.readline() == "ready\n"

    def wait_socket(self):
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.path):
            assert time.monotonic() < end, "no socket: " + self.outcome()
            time.sleep(0.002)
        return self

    def order(self, letter):
        self.process.stdin.write(letter + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def outcome(self):
        """The socket, or the message that says why there is none; empty while neither is known."""
        return self.order("s") or os.pread(self.stderr.fileno(), 4096, 0).decode()

    def client(self, **more):
        client = Client(self.path, **more)
        self.clients.append(client)
        return client

    def ask(self, line):
        client = self.client()
        try:
            return client.ask(line)
        finally:
            client.close()

    def threads(self):
        names = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/comm", encoding="ascii") as file:
                    names.append((file.read().strip(), task))
            except OSError:
                pass
        return sorted(names)

    def own_threads(self):
        return [name for name, _ in self.threads() if name.startswith("slabnode")]

    def switches(self):
        """How often its threads have run."""
        total = 0
        for name, task in self.threads():
            if name.startswith("slabnode"):
                with open(f"/proc/{self.pid}/task/{task}/status", encoding="ascii") as file:
                    total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        return total

    def node(self, number, ask=None):
        return [row for row in (ask or self.ask)("status")["nodes"] if row["node"] == number][0]

    def end(self):
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.stderr.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()
        return self.process.returncode


def until(condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Base(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="slabnode-control-")
        self.processes = []
        self.addCleanup(self.clean)

    def clean(self):
        for process in self.processes:
            if process.process.poll() is None:
                process.process.kill()
            process.end()
        shutil.rmtree(self.directory)

    def start(self, rundir=None, mode="", wait=True, **more):
        process = Process(rundir or f"{self.directory}/run", mode, **more)
        self.processes.append(process)
        if wait:
            process.wait_socket()
        return process

    def refused(self, answer, error):
        self.assertIs(answer["ok"], False, answer)
        self.assertEqual(answer["error"], error, answer)
        self.assertTrue(answer["message"])


class Commands(Base):
    def setUp(self):
        super().setUp()
        self.process = self.start()

    def ask(self, line):
        return self.process.ask(line)

    def test_hello(self):
        self.assertEqual(self.process.client().hello,
                         {"slabnode": 1, "version": "0.0-test", "pid": self.process.pid,
                          "command": 'fake "core"'})

    def test_queries(self):
        answer = self.ask("list-self")
        self.assertEqual(answer, {"ok": True, "pid": self.process.pid, "command": 'fake "core"',
                                  "socket": self.process.path, "nodes": 4, "nodes_online": 4,
                                  "live_bytes": 1, "cached_bytes": 2})
        answer = self.ask("status")
        self.assertEqual([row["node"] for row in answer["nodes"]], [0, 1, 2, 5])
        self.assertEqual((answer["topology"], answer["fast_path"], answer["placement"]),
                         ("synthetic", "locked", "simulated"))
        self.assertEqual(answer["placement_reason"], 'a "test"')
        row = answer["nodes"][3]
        self.assertEqual((row["cpus"], row["fallback"], row["state"], row["cordoned"]),
                         ("6-7", [0, 1, 2], "online", False))
        self.assertIsNone(answer["nodes"][0]["capacity_bytes"])
        self.assertEqual(row["capacity_bytes"], 1 << 30)
        self.assertEqual(row["live_bytes"], (1 << 64) - 2)
        for key in ("cached_bytes", "slabs", "large_bytes", "resident_bytes", "elsewhere_bytes",
                    "other_bytes", "numa_hit", "numa_miss", "numa_foreign", "transition"):
            self.assertIn(key, row)
        answer = self.ask("topology")
        self.assertEqual((answer["source"], answer["simulated"]), ("synthetic", True))
        self.assertEqual(answer["nodes"][1]["distances"], [20, 10, 20, 20])
        self.assertEqual(answer["nodes"][1]["free_bytes"], 12345)
        self.assertIsNone(answer["nodes"][0]["free_bytes"])

    def test_tables(self):
        self.process.order("b")
        answer = self.ask("slabinfo")
        self.assertEqual(len(answer["caches"]), 4 * 256)
        self.assertEqual(answer["caches"][0]["cache"], "odd \\\n name")
        self.assertEqual({row["node"] for row in self.ask("slabinfo 5 1")["caches"]}, {1, 5})
        answer = self.ask("why 5")
        self.assertEqual((answer["node"], answer["state"], answer["transition"]),
                         (5, "online", None))
        self.assertEqual(len(answer["holders"]), 16)
        sizes = [row["bytes"] for row in answer["holders"]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertEqual(sizes[0], 258 * 64)
        self.assertEqual(self.ask("options")["options"],
                         [{"name": "SLABNODE_X", "type": "text", "range": "any",
                           "value": "\ufffd\u00e9", "default": "none", "help": "a row"}])
        self.assertIn("offline", [row["name"] for row in self.ask("help")["commands"]])
        self.assertEqual(self.ask("version")["version"], "0.0-test")

    def test_why_names_large_blocks(self):
        holders = self.ask("why 0")["holders"]
        self.assertEqual([row["cache"] for row in holders], ["large", "odd \\\n name"])
        self.assertEqual(holders[0], {"cache": "large", "objects": 2, "slabs": 0, "bytes": 1000})

    def test_why_names_sites(self):
        answer = self.ask("why 1")
        self.assertEqual(answer["sampling"], {"mean_bytes": 4096, "dropped": 3, "more_sites": 1})
        self.assertEqual(answer["sites"], [{"objects": 2, "bytes": 8192,
                                            "frames": ["0x7f00deadbeef", "0x0", "0x10"]}])
        self.assertNotIn("sites", self.ask("why 0"))

    def test_offline_one(self):
        client = self.process.client()
        answer = client.ask("offline 5 timeout=2.5 max-stall=7 to=0,1-2")
        self.assertEqual((answer["ok"], answer["node"], answer["state"], answer["policy"]),
                         (True, 5, "offline", "migrate"))
        self.assertEqual((answer["drained_objects"], answer["elapsed_ms"], answer["already"]),
                         (7, 1.5, False))
        self.assertEqual(answer["unmovable"], [{"reason": "pinned", "pages": 2}])
        self.assertEqual(client.progress[0], {"node": 5, "phase": "close", "done": 1, "total": 1,
                                              "elapsed_ms": 0})
        self.assertEqual({row["phase"] for row in client.progress[1:]}, {"migrate"})
        answer = client.ask("offline 5")
        self.assertEqual((answer["ok"], answer["already"]), (True, True))
        self.assertEqual(answer["note"], "node 5 was offline already")
        # The rest of the process is another matter.
        answer = client.ask("offline 5 whole-process=1")
        self.assertEqual((answer["already"], answer["whole_process"]["moved_bytes"]),
                         (True, 3 * 4096))
        answer = client.ask("online 5 rebalance=1")
        self.assertEqual((answer["ok"], answer["state"], answer["migrated_bytes"]),
                         (True, "online", 4096))

    def test_offline_failures(self):
        answer = self.ask("offline 1 policy=strict")
        self.refused(answer, "EBUSY")
        self.assertEqual((answer["node"], answer["state"]), (1, "online"))
        self.assertEqual(answer["holders"], [{"cache": "malloc-64", "objects": 3, "slabs": 1,
                                              "bytes": 192}])
        self.refused(self.ask("offline 1 policy=wait timeout=.05"), "ETIMEDOUT")

    def test_offline_several(self):
        answer = self.ask("offline 1 2,5 policy=migrate whole-process=1")
        self.assertIs(answer["ok"], True)
        self.assertEqual([row["node"] for row in answer["results"]], [1, 2, 5])
        self.assertEqual(answer["results"][0]["whole_process"],
                         {"ok": True, "moved_bytes": 3 * 4096, "stayed_bytes": 0})
        answer = self.ask("online 1-2 5")
        self.assertEqual([row["state"] for row in answer["results"]], ["online"] * 3)
        self.ask("offline 1")
        answer = self.ask("offline 1 2 policy=strict")
        self.refused(answer, "EBUSY")
        self.assertEqual([row["ok"] for row in answer["results"]], [True, False])

    def test_small_commands(self):
        answer = self.ask("cordon 1")
        self.assertEqual((answer["ok"], answer["cordoned"], answer["already"]),
                         (True, True, False))
        self.assertIs(self.ask("cordon 1")["already"], True)
        self.assertIs(self.process.node(1)["cordoned"], True)
        self.assertIs(self.ask("uncordon 1")["cordoned"], False)
        answer = self.ask("cancel 1")
        self.assertEqual((answer["ok"], answer["already"]), (True, True))
        answer = self.ask("plan 2")
        self.assertEqual((answer["ok"], answer["feasible"], answer["targets"]),
                         (True, True, [{"node": 0, "free_bytes": None,
                                         "reclaimable_bytes": 0}]))
        self.assertEqual(self.ask("drain")["drained_objects"], 100)
        self.assertEqual(self.ask("drain 1 2")["drained_objects"], 2)
        self.assertEqual(self.ask("fault good at=2")["fault"], "good at=2")
        self.refused(self.ask("fault bad one"), "EINVAL")

    def test_events(self):
        self.ask("offline 1")
        client = self.process.client()
        client.send("events since=0\n")
        first, second, end = client.read(), client.read(), client.read()
        self.assertEqual((first["seq"], first["node"], first["from"], first["to"],
                          first["action"], first["cause"]),
                         (1, 1, "online", "going-offline", "MEM_GOING_OFFLINE", "test"))
        self.assertLess(abs(first["time"] - time.time()), 60)
        self.assertEqual((second["seq"], second["to"]), (2, "offline"))
        self.assertEqual(end, {"ok": True, "end": True})
        follower, late = self.process.client(), self.process.client()
        follower.send("events since=1 follow=1\n")
        self.assertEqual(follower.read()["seq"], 2)
        late.send("events follow=1\n")
        time.sleep(0.1)
        # From a thread of the program, which has no descriptor to wake anybody with.
        for seq in range(3, 8):
            self.process.order("n")
            self.assertEqual(follower.read()["seq"], seq)
            self.assertEqual(late.read()["seq"], seq)
        self.ask("online 1")
        self.assertEqual(follower.read()["action"], "MEM_ONLINE")

    def test_event_ring_overrun(self):
        for _ in range(1100):
            self.process.order("n")
        client = self.process.client()
        client.send("events\n")
        got = []
        while "end" not in (row := client.read()):
            got.append(row["seq"])
        self.assertEqual(got, list(range(77, 1101)))

    def test_bad_requests(self):
        for line in ("", " ", "nonsense", "offline", "offline x", "offline 1 policy=", "cordon",
                     "offline 1 policy=often", "offline 1 timeout=x", "offline 1 timeout=-1",
                     "offline 1 timeout=", "offline 1 timeout=.", "offline 1 timeout=1e9",
                     "offline 1 max-stall=0", "offline 1 colour=red", "cordon 1 2", "status 1",
                     "status x=1", "offline 1 detach=2", "offline 1 policy=wait policy=wait",
                     "offline 2-1", "offline 1,", "offline -1", "why", "events since=x", "fault",
                     "offline 99999999999999999999", "offline " + "1 " * 200, "a=b", "=",
                     "OFFLINE 1", "offline 1\x00", "\x01", "offline 1 " + "x=1 " * 40):
            self.refused(self.ask(line), "EINVAL")
        for line, words in (("offline 1 max-stall=0", "max-stall is a whole number from 1 to 60000: 0"),
                            ("offline 1 max-stall=x7", "max-stall is a whole number from 1 to"),
                            ("events since=x", "since is a whole number from 0 to")):
            self.assertIn(words, self.ask(line)["message"])
        for line in ("offline 3", "offline 1 to=9", "why 4", "slabinfo 7", "offline 0-5"):
            self.refused(self.ask(line), "ENODEV")
        self.assertEqual({row["state"] for row in self.ask("status")["nodes"]}, {"online"})


class Wire(Base):
    def setUp(self):
        super().setUp()
        self.process = self.start()

    def test_several_requests(self):
        client = self.process.client()
        client.send("version\ncordon 1\nuncordon 1\r\nnonsense\nversion\n")
        answers = [client.read() for _ in range(5)]
        self.assertEqual([answer["ok"] for answer in answers], [True, True, True, False, True])
        self.assertEqual([answers[1]["cordoned"], answers[2]["cordoned"]], [True, False])

    def test_pieces(self):
        client = self.process.client()
        for byte in b"version\nversion\n":
            client.send(bytes([byte]))
            time.sleep(0.002)
        self.assertTrue(client.read()["ok"] and client.read()["ok"])

    def test_half_line_is_not_obeyed(self):
        client = self.process.client()
        client.send("cordon 1")  # of "cordon 15", as far as anybody knows
        client.socket.shutdown(socket.SHUT_WR)
        self.refused(client.read(), "EINVAL")
        self.assertIsNone(client.read())
        client = self.process.client()
        client.send("cordon 1")
        client.close()
        time.sleep(0.1)
        self.assertIs(self.process.node(1)["cordoned"], False)

    def test_end_of_writing_is_no_hang_up(self):
        client = self.process.client()
        client.send("offline 1 policy=migrate\nversion\n")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.reply()["state"], "offline")
        self.assertTrue(client.reply()["version"])
        self.assertIsNone(client.read())

    def test_socat_style(self):
        client = self.process.client(hello=False)
        client.send("status\n")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertIn("slabnode", client.read())
        self.assertTrue(client.read()["ok"])
        self.assertIsNone(client.read())

    def test_sent_and_gone(self):
        client = self.process.client()
        client.send("cordon 2\n")
        client.close()
        until(lambda: self.process.node(2)["cordoned"])

    def test_line_lengths(self):
        client = self.process.client()
        client.send("version" + " " * (4096 - 8) + "\n")
        self.assertTrue(client.read()["ok"])
        client.send("version" + " " * (4097 - 8) + "\n")
        self.refused(client.read(), "EINVAL")
        self.assertIsNone(client.read())

    def test_endless_line(self):
        client = self.process.client()
        try:
            client.send(b"x" * 1000000)
        except OSError:
            pass
        self.refused(client.read(), "EINVAL")
        try:
            self.assertIsNone(client.read())
        except ConnectionResetError:
            pass
        self.assertTrue(self.process.ask("version")["ok"])

    def test_garbage(self):
        for seed in range(8):
            client = self.process.client()
            junk = bytes((i * (seed + 3) * 2654435761 >> 7) & 255 for i in range(20000))
            try:
                client.send(junk + b"\n")
                client.socket.shutdown(socket.SHUT_WR)
                while client.read() is not None:
                    pass
            except OSError:
                pass
        self.assertTrue(self.process.ask("version")["ok"])
        answer = self.process.client()
        answer.send(b"\xff\xfe\"\\ 1\n")
        self.assertEqual(answer.read()["message"], 'unknown command: \ufffd\ufffd"\\')

    def test_descriptors_sent_along(self):
        client = self.process.client()
        before = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        with open("/dev/null", "rb") as file:
            socket.send_fds(client.socket, [b"version\n"], [file.fileno()] * 20)
        self.assertTrue(client.read()["ok"])
        self.assertEqual(len(os.listdir(f"/proc/{self.process.pid}/fd")), before)

    def test_large_reply_to_slow_reader(self):
        self.process.order("b")
        client = self.process.client()
        client.send("slabinfo\n" * 8)
        time.sleep(0.3)
        for _ in range(8):
            self.assertEqual(len(client.read()["caches"]), 1024)

    def test_flood_without_reading(self):
        self.process.order("b")
        flooders = [self.process.client() for _ in range(4)]
        for client in flooders:
            client.socket.setblocking(False)
            try:
                while True:
                    client.socket.send(b"slabinfo\n" * 100)
            except BlockingIOError:
                pass
        begin = time.monotonic()
        self.assertTrue(self.process.ask("version")["ok"])
        self.assertLess(time.monotonic() - begin, 10)
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            self.assertLess(int(file.read().split()[1]) * 4096, 32 << 20)

    def test_reader_that_never_reads_is_dropped(self):
        # The deadline is 30 s; the control thread must neither spin nor forget meanwhile.
        if not os.environ.get("SLABNODE_SLOW_TESTS"):
            self.skipTest("takes half a minute: SLABNODE_SLOW_TESTS=1")
        self.process.order("b")
        client = self.process.client()
        client.send("slabinfo\n" * 4)
        time.sleep(33)
        with self.assertRaises((AssertionError, OSError, ValueError)):
            for _ in range(4):
                client.read()["caches"]


class ManyClients(Base):
    def setUp(self):
        super().setUp()
        self.process = self.start()

    def test_hundred_at_once(self):
        failures = []

        def use():
            for _ in range(20):
                try:
                    answer = self.process.ask("status")
                    if not answer["ok"]:
                        failures.append(answer)
                except (OSError, TypeError) as error:
                    failures.append(error)

        threads = [threading.Thread(target=use) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_thousand(self):
        """Silent ones, half lines, requests whose replies nobody reads: who asks is answered."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.process.order("b")
        asking = self.process.client()
        habits = (b"", b"stat", b"slabinfo\n" * 30, b"offline 1 policy=wait\n")
        crowd = []

        def connect():
            while True:
                try:
                    return self.process.client(hello=False)
                except BlockingIOError:  # so many have yet to be accepted
                    time.sleep(0.001)

        for i in range(1000):
            extra = connect()
            crowd.append(extra)
            try:
                extra.send(habits[i % len(habits)])
            except OSError:
                pass  # turned away already
            if i % 50 == 0:
                begin = time.monotonic()
                self.assertTrue(asking.ask("version")["ok"])
                self.assertLess(time.monotonic() - begin, 10)
        for extra in crowd:
            extra.close()
        until(lambda: len(self.process.own_threads()) == 2)
        until(lambda: all(node["state"] == "online" for node in asking.ask("status")["nodes"]))
        until(lambda: "slabnode" in self.process.client(hello=False).read())

    def test_limit(self):
        clients = [self.process.client() for _ in range(64)]
        for _ in range(36):
            extra = self.process.client(hello=False)
            self.refused(extra.read(), "EAGAIN")
            self.assertIsNone(extra.read())
        for client in clients:
            self.assertTrue(client.ask("version")["ok"])
        clients[7].close()
        until(lambda: "slabnode" in self.process.client(hello=False).read())

    def test_silent_ones_make_room(self):
        clients = [self.process.client() for _ in range(64)]
        clients[3].send("events follow=1\n")
        time.sleep(3)
        for i in (0, 1, 2):
            clients[i].ask("version")
        time.sleep(2.5)
        self.assertTrue(self.process.ask("version")["ok"])
        gone = [i for i in range(64) if select.select([clients[i].socket], [], [], 0)[0]]
        self.assertEqual(len(gone), 1)
        self.assertGreater(gone[0], 3)
        self.assertIsNone(clients[gone[0]].read())
        self.assertTrue(clients[0].ask("version")["ok"])
        self.process.order("n")
        self.assertEqual(clients[3].read()["seq"], 1)


class LongOperations(Base):
    def setUp(self):
        super().setUp()
        self.process = self.start()

    def begin(self, line):
        client = self.process.client()
        client.send(line + "\n")
        self.assertEqual(client.read()["progress"]["phase"], "close")
        return client

    def state(self, node):
        return self.process.node(node)["state"]

    def test_answers_meanwhile(self):
        waiting = self.begin("offline 1 policy=wait")
        other = self.begin("offline 2 policy=wait")
        begin = time.monotonic()
        row = self.process.node(1)
        self.assertEqual((row["state"], row["transition"]["policy"], row["transition"]["phase"]),
                         ("going-offline", "wait", "wait"))
        self.assertEqual(self.process.ask("why 1")["transition"]["waiting_for"], "objects")
        self.assertLess(time.monotonic() - begin, 10)
        self.assertIs(self.process.ask("cancel 1")["already"], False)
        self.refused(waiting.reply(), "ECANCELED")
        self.assertEqual((self.state(1), self.state(2)), ("online", "going-offline"))
        # The connection goes on.
        self.assertTrue(waiting.ask("version")["ok"])
        self.process.ask("cancel 2")
        self.refused(other.reply(), "ECANCELED")

    def test_hang_up_cancels(self):
        client = self.begin("offline 1 2 policy=wait")
        client.close()
        until(lambda: self.state(1) == self.state(2) == "online")
        until(lambda: not [name for name, _ in self.process.threads() if "work" in name])

    def test_hang_up_by_shutdown(self):
        client = self.begin("offline 1 policy=wait")
        client.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        self.assertEqual(self.state(1), "going-offline")
        client.socket.shutdown(socket.SHUT_RD)
        until(lambda: self.state(1) == "online")

    def test_hang_up_at_once(self):
        for _ in range(30):
            client = self.process.client()
            client.send("offline 1 policy=wait\n")
            client.close()
        time.sleep(0.1)
        until(lambda: self.state(1) == "online")
        until(lambda: len(self.process.own_threads()) == 2)

    def test_killed_client(self):
        code = ("import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\n"
                "s.connect(sys.argv[1])\ns.sendall(b'offline 1 policy=wait\\n')\ntime.sleep(60)")
        client = subprocess.Popen([sys.executable, "-c", code, self.process.path])
        until(lambda: self.state(1) == "going-offline")
        client.kill()
        client.wait()
        until(lambda: self.state(1) == "online")

    def test_detached(self):
        client = self.begin("offline 1 policy=migrate detach=1")
        client.close()
        until(lambda: self.state(1) == "offline")
        client = self.begin("offline 2 policy=wait detach=1")
        client.close()
        time.sleep(0.3)
        self.assertEqual(self.state(2), "going-offline")
        self.process.ask("cancel 2")
        self.assertEqual(self.state(2), "online")

    def test_joined(self):
        first = self.begin("offline 1 policy=wait")
        second = self.begin("offline 1 policy=wait")
        second.close()
        time.sleep(0.2)
        self.assertEqual(self.state(1), "going-offline")
        third = self.begin("offline 1 policy=wait")
        first.close()
        time.sleep(0.2)
        self.assertEqual(self.state(1), "going-offline")
        third.close()
        until(lambda: self.state(1) == "online")

    def test_joined_the_program(self):
        self.process.order("o")
        until(lambda: self.state(5) == "going-offline")
        time.sleep(0.05)
        client = self.begin("offline 5 policy=wait")
        client.close()
        time.sleep(0.3)
        self.assertEqual(self.state(5), "going-offline")
        self.process.order("x")
        self.assertEqual(self.state(5), "online")
        until(lambda: not [name for name, _ in self.process.threads() if "undo" in name])

    def test_pipelined_requests_wait(self):
        client = self.process.client()
        client.send("offline 1\nonline 1\nversion\n")
        self.assertEqual(client.reply()["state"], "offline")
        self.assertEqual(client.reply()["state"], "online")
        self.assertIn("version", client.reply())

    def test_many_at_once(self):
        clients = [self.process.client() for _ in range(60)]
        for client in clients:
            client.send("offline 1 policy=wait\n")
        for client in clients:
            self.assertEqual(client.read()["progress"]["phase"], "close")
        self.assertIs(self.process.ask("cancel 1")["ok"], True)
        for client in clients:
            self.refused(client.reply(), "ECANCELED")

    def test_detached_flood_is_bounded(self):
        refused = 0
        for _ in range(150):
            client = self.process.client()
            client.send("offline 1 policy=wait detach=1\n")
            refused += client.read().get("error") == "EAGAIN"
            client.close()
        self.assertEqual(refused, 150 - 96)
        self.assertIs(self.process.ask("cancel 1")["ok"], True)
        until(lambda: len(self.process.own_threads()) == 2)

    def test_exit_under_way(self):
        self.begin("offline 1 policy=wait")
        self.assertEqual(self.process.end(), 0)
        self.assertFalse(os.path.exists(self.process.path))


class Guest(Base):
    """What the program notices of it."""

    def test_threads(self):
        process = self.start()
        process.ask("version")
        # A new thread has the name of its creator at first.
        until(lambda: process.own_threads() == ["slabnode-ctl", "slabnode-wake"])
        for name, task in process.threads():
            if not name.startswith("slabnode"):
                continue
            with open(f"/proc/{process.pid}/task/{task}/status", encoding="ascii") as file:
                blocked = [line.split()[1] for line in file if line.startswith("SigBlk")][0]
            # All but KILL, STOP and glibc's own two.
            self.assertEqual(int(blocked, 16) | 1 << 8 | 1 << 18, ~(3 << 31) & (1 << 64) - 1)

    def test_descriptors_are_hidden(self):
        process = self.start()
        client = process.client()
        self.assertEqual(sorted(os.listdir(f"/proc/{process.pid}/fd")), ["0", "1", "2"])
        self.assertEqual(process.order("d"), "3")
        process.order("c")
        self.assertTrue(client.ask("version")["ok"])

    def test_nothing_of_the_program_stays_open(self):
        read, write = os.pipe()
        process = self.start(pass_fds=(write,))
        os.close(write)
        task = [task for name, task in process.threads() if name == "slabnode-ctl"][0]
        links = os.listdir(f"/proc/{process.pid}/task/{task}/fd")
        self.assertFalse({"0", "1", "2"} & set(links))
        process.order("c")
        self.assertEqual(os.read(read, 1), b"")
        os.close(read)

    def test_shared_table(self):
        process = self.start(mode="no-close-range")
        client = process.client()
        self.assertTrue(client.ask("offline 1")["ok"])
        numbers = sorted(int(number) for number in os.listdir(f"/proc/{process.pid}/fd"))
        self.assertEqual(numbers[:3], [0, 1, 2])
        self.assertGreaterEqual(numbers[3], 500)
        process.order("n")
        # A program that closes everything takes the control plane away, nothing else.
        process.order("c")
        process.order("n")
        self.assertIsNone(client.read())
        until(lambda: not os.path.exists(process.path))
        self.assertEqual(process.order("d"), "3")
        self.assertEqual(process.end(), 0)

    def test_quiet(self):
        process = self.start()
        client = process.client()
        client.ask("version")
        time.sleep(0.3)
        before = process.switches()
        time.sleep(2)
        self.assertEqual(process.switches(), before)

    def test_ageing(self):
        process = self.start()
        process.client().ask("version")
        time.sleep(0.2)
        before = int(process.order("a"))
        self.assertEqual(before, 1)
        for expected in range(2, 6):
            process.order("p")
            until(lambda: int(process.order("a")) == expected)
        time.sleep(0.2)
        self.assertEqual(int(process.order("a")), 5)
        process = self.start(mode="ageing")
        time.sleep(1)
        self.assertTrue(20 <= int(process.order("a")) <= 60)

    def test_ageing_without_socket(self):
        process = self.start(rundir="/proc/nowhere", wait=False)
        until(lambda: int(process.order("a")) == 1)
        for expected in range(2, 6):
            process.order("p")
            until(lambda: int(process.order("a")) == expected)
        self.assertIn("/proc/nowhere", process.outcome())
        before = process.switches()
        time.sleep(1)
        self.assertEqual(process.switches(), before)
        self.assertEqual(process.order("r"), "|0")
        self.assertEqual(len(process.own_threads()), 0)

    def test_fork(self):
        process = self.start()
        client = process.client()
        waiting = process.client()
        waiting.send("offline 1 policy=wait\n")
        waiting.read()
        process.process.stdin.write("f\n")
        process.process.stdin.flush()
        path = process.process.stdout.readline().strip()
        self.assertNotEqual(path, process.path)
        child = Client(path)
        self.assertNotEqual(child.hello["pid"], process.pid)
        self.assertTrue(child.ask("version")["ok"])
        child.close()
        self.assertTrue(client.ask("version")["ok"])
        self.assertEqual(process.process.stdout.readline().strip(), "0")
        self.assertFalse(os.path.exists(path))
        self.assertTrue(os.path.exists(process.path))
        self.assertTrue(client.ask("version")["ok"])

    def test_retire(self):
        for mode in ("", "no-close-range", "ageing"):
            process = self.start(mode=mode)
            client = process.client()
            client.send("offline 1 policy=wait\n")
            client.read()
            begin = time.monotonic()
            self.assertEqual(process.order("r"), "|0")
            self.assertLess(time.monotonic() - begin, 10)
            self.assertEqual(len(process.own_threads()), 0)
            self.assertFalse(os.path.exists(process.path))
            self.refused(client.reply(), "ECANCELED")
            self.assertEqual(process.order("i"), "0")
            self.assertEqual(process.end(), 0)

    def test_exit(self):
        process = self.start()
        self.assertEqual(process.end(), 0)
        self.assertEqual(os.listdir(f"{self.directory}/run"), [])

    def test_descriptor_limit(self):
        process = self.start()
        client = process.client()
        process.order("l")
        # With a limit of none poll() itself is refused: the control plane leaves quietly.
        try:
            client.send("version\n")
            while client.read() is not None:
                pass
        except OSError:
            pass
        until(lambda: not os.path.exists(process.path))
        self.assertEqual(process.end(), 0)

    def test_accept_without_descriptors(self):
        process = self.start(
            before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12)))
        connected = []
        for _ in range(30):
            extra = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            extra.connect(process.path)
            connected.append(extra)
        time.sleep(0.3)
        before = process.switches()
        time.sleep(2)
        self.assertLess(process.switches() - before, 20)
        for extra in connected:
            extra.close()
        until(lambda: process.ask("version")["ok"], 5)

    def test_locale_does_not_matter(self):
        process = self.start(env={**os.environ, "LC_ALL": "de_DE.UTF-8"})
        self.assertTrue(process.ask("offline 1 timeout=1.5")["ok"])


class RunDirectory(Base):
    def expect_none(self, rundir, word):
        process = self.start(rundir=rundir, wait=False)
        until(lambda: process.outcome())
        self.assertIn(word, process.outcome())
        self.assertEqual(process.end(), 0)

    def test_modes(self):
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        process = self.start()
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.directory}/run").st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(process.path).st_mode), 0o600)

    def test_narrow_umask(self):
        os.mkdir(f"{self.directory}/run", 0o700)
        old = os.umask(0o777)
        try:
            process = self.start()
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(os.stat(process.path).st_mode), 0o600)
        self.assertTrue(process.ask("version")["ok"])

    def test_symbolic_link(self):
        os.mkdir(f"{self.directory}/elsewhere", 0o700)
        os.symlink(f"{self.directory}/elsewhere", f"{self.directory}/run")
        self.expect_none(f"{self.directory}/run", "not a directory")
        self.assertEqual(os.listdir(f"{self.directory}/elsewhere"), [])

    def test_open_to_others(self):
        os.mkdir(f"{self.directory}/run", 0o700)
        os.chmod(f"{self.directory}/run", 0o770)
        self.expect_none(f"{self.directory}/run", "others can write")
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.directory}/run").st_mode), 0o770)

    def test_not_there(self):
        self.expect_none(f"{self.directory}/no/run", "cannot be made: ENOENT")
        self.expect_none("relative", "absolute")
        with open(f"{self.directory}/file", "w", encoding="ascii"):
            pass
        self.expect_none(f"{self.directory}/file", "not a directory that can be opened: ENOTDIR")
        self.expect_none("/proc", "no socket can be made there: ENOENT")

    def test_long_name(self):
        rundir = f"{self.directory}/{'long' * 40}"
        process = self.start(rundir=rundir)
        self.assertTrue(process.ask("version")["ok"])
        self.assertEqual(process.end(), 0)
        self.assertEqual(os.listdir(rundir), [])

    def test_stale_sockets(self):
        rundir = f"{self.directory}/run"
        killed = self.start()
        killed.process.kill()
        killed.process.wait()
        self.assertTrue(os.path.exists(killed.path))
        with open(f"{rundir}/notes.txt", "w", encoding="ascii"):
            pass
        # A number that no process has, but somebody listens: another pid namespace.
        foreign = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        foreign.bind(f"{rundir}/999999999.sock")
        foreign.listen()
        # Nobody's number: more digits than any process has.
        longer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        longer.bind(f"{rundir}/9999999999.sock")
        longer.close()
        living = self.start()
        another = self.start()
        self.assertFalse(os.path.exists(killed.path))
        self.assertEqual(sorted(os.listdir(rundir)),
                         sorted(["999999999.sock", "9999999999.sock", "notes.txt",
                                 f"{living.pid}.sock", f"{another.pid}.sock"]))
        foreign.close()

    def test_what_stands_in_place_of_the_socket(self):
        """Under the names that the process will use, whose number is known beforehand to others."""
        rundir = f"{self.directory}/run"
        os.mkdir(rundir, 0o700)
        victim = f"{self.directory}/victim"
        with open(victim, "w", encoding="ascii") as file:
            file.write("kept")

        def link(name):
            os.symlink(victim, name)

        def plain(name):
            shutil.copy(victim, name)

        for suffix, make, works in ((".sock", link, True), (".new", link, True),
                                    (".sock", plain, True), (".new", plain, True),
                                    (".sock", os.mkdir, False), (".new", os.mkdir, False)):
            process = self.start(rundir=rundir, wait=False,
                                 before=lambda: make(f"{rundir}/{os.getpid()}{suffix}"))
            until(lambda: process.outcome())
            self.assertEqual("no socket" not in process.outcome(), works, (suffix, make))
            if works:
                self.assertTrue(process.ask("version")["ok"])
            self.assertEqual(process.end(), 0)
            with open(victim, encoding="ascii") as file:
                self.assertEqual(file.read(), "kept")
            shutil.rmtree(rundir)
            os.mkdir(rundir, 0o700)

    def test_own_stale_socket(self):
        rundir = f"{self.directory}/run"
        os.mkdir(rundir, 0o700)
        # What an exec leaves behind: a dead socket of the very same process number.
        code = (f"import os,socket\ns=socket.socket(socket.AF_UNIX)\n"
                f"s.bind('{rundir}/%d.sock' % os.getpid())\ns.close()\n"
                f"os.execv('{FAKE_CORE}', ['{FAKE_CORE}', '{rundir}'])")
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        child.stdout.readline()
        path = f"{rundir}/{child.pid}.sock"

        def answers():
            if not os.path.exists(path):
                return False
            try:
                Client(path).close()
            except ConnectionRefusedError:  # the dead one
                return False
            return True

        until(answers)
        child.stdin.close()
        child.wait()
        child.stdout.close()
        self.assertEqual(os.listdir(rundir), [])

    def test_replaced_socket_is_left_alone(self):
        process = self.start()
        os.unlink(process.path)
        with open(process.path, "w", encoding="ascii"):
            pass
        self.assertEqual(process.end(), 0)
        self.assertTrue(os.path.exists(process.path))


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class OtherUsers(Base):
    def setUp(self):
        super().setUp()
        self.nobody = pwd.getpwnam("nobody").pw_uid
        self.core = f"{self.directory}/fake_core"
        shutil.copy(FAKE_CORE, self.core)
        os.chmod(self.directory, 0o755)

    def ask_as_nobody(self, path):
        code = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                "s.settimeout(5)\nprint(s.makefile().readline(), end='')")
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        return subprocess.run(
            ["setpriv", f"--reuid={self.nobody}", "--clear-groups", python, "-c", code, path],
            capture_output=True, text=True, check=False)

    def test_refused_by_modes(self):
        process = self.start()
        result = self.ask_as_nobody(process.path)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("PermissionError", result.stderr)

    def test_refused_by_credentials(self):
        process = self.start()
        os.chmod(f"{self.directory}/run", 0o755)
        os.chmod(process.path, 0o666)
        result = self.ask_as_nobody(process.path)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.refused(json.loads(result.stdout), "EPERM")

    def test_root_and_owner_may(self):
        os.mkdir(f"{self.directory}/own", 0o700)
        os.chown(f"{self.directory}/own", self.nobody, -1)

        def become():
            os.setgroups([])
            os.setuid(self.nobody)

        global FAKE_CORE
        kept, FAKE_CORE = FAKE_CORE, self.core
        try:
            process = self.start(rundir=f"{self.directory}/own/run", before=become)
        finally:
            FAKE_CORE = kept
        self.assertTrue(process.ask("version")["ok"])
        result = self.ask_as_nobody(process.path)
        self.assertIn('"slabnode":1', result.stdout, result.stderr)
        pid, uid, _ = struct.unpack("3i", process.client().socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self.assertEqual((pid, uid), (process.pid, self.nobody))

    def test_directory_of_somebody_else(self):
        os.mkdir(f"{self.directory}/run", 0o700)
        os.chown(f"{self.directory}/run", self.nobody, -1)
        process = self.start(wait=False)
        until(lambda: process.outcome())
        self.assertIn("somebody else", process.outcome())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    FAKE_CORE = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
