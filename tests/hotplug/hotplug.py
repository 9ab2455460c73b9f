#!/usr/bin/python3
"""An ordinary program, asked by hotplugctl from outside: hotplug.py ROW | --list

The program (guest.c) checks its own memory. On one node there is nothing that could leave, and what is
asked for must be refused and leave the program as it is.

The runner hands the environment that makes a program run under the library in SUBJECT_ENV.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "programs"))

from subject import SUBJECT_ENV, environment, fail, skip  # noqa: E402

BUILD = pathlib.Path(os.environ.get("TEST_BUILD", HERE.parent.parent / "build"))
HOTPLUGCTL = str(BUILD / "tools/hotplugctl")
GUEST = str(BUILD / "tests/hotplug/guest")
NODES = 4 if "node:4" in SUBJECT_ENV.get("SLABNODE_TOPOLOGY", "") else 1
SCALE = int(os.environ.get("TEST_SCALE", "1"))

DONE, INVALID, BUSY, CANCELLED, TIMED_OUT = 0, 3, 4, 5, 6


class Guest:
    """The program, from its start to the word that all its memory is intact."""

    def __init__(self, *arguments):
        self.rundir = tempfile.TemporaryDirectory(prefix="slabnode-test-")
        self.env = {**environment(True), "SLABNODE_CONTROL": "on", "SLABNODE_RUNDIR": self.rundir.name}
        self.process = subprocess.Popen([GUEST, *arguments], env=self.env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        self.pid = int(self.process.stdout.readline() or "0")
        self.socket = os.path.join(self.rundir.name, f"{self.pid}.sock")
        for _ in range(1000):
            if os.path.exists(self.socket):
                return self
            time.sleep(0.02)
        return fail(f"{self.socket} did not appear", os.listdir(self.rundir.name))

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer != "done\n":
            fail(f"{word}: {answer!r}", self.process.stderr.read())

    def command(self, *words):
        return [HOTPLUGCTL, "-s", self.socket, "--json", *map(str, words)]

    def start(self, *words):
        return subprocess.Popen(self.command(*words), env=environment(False), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, *words, code=DONE):
        """The reply, after the exit code has been looked at; several may be right."""
        done = subprocess.run(self.command(*words), env=environment(False), capture_output=True,
                              text=True, timeout=120, check=False)
        codes = code if isinstance(code, tuple) else (code,)
        if done.returncode not in codes:
            fail(f"{words}: exit {done.returncode}, expected {code}", done.stdout, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def states(self):
        return [node["state"] for node in self.ask("status")["nodes"]]

    def expect_all_online(self):
        if self.states() != ["online"] * NODES:
            fail("nodes are not as before", repr(self.states()))

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.process.kill()
        rest, said = self.process.communicate(timeout=120)
        if kind is None and (not rest.endswith("intact\n") or said):
            fail(f"the program ended with {self.process.wait()}", rest, said)
        self.rundir.cleanup()


def refused_on_one_node(guest, policy):
    """What every row does where nothing can leave."""
    if NODES > 1:
        return False
    reply = guest.ask("offline", 0, "--policy", policy, code=BUSY)
    if "last usable" not in reply["message"]:
        fail("refused for another reason", repr(reply))
    guest.ask("online", 0)
    guest.expect_all_online()
    return True


def only_cached():
    """Objects that nobody holds are no reason to stay."""
    with Guest() as guest:
        guest.tell("idle")
        if not refused_on_one_node(guest, "strict"):
            # Nodes of threads other than the main one, which holds what libc does.
            for node in (1, 2, 3):
                guest.ask("offline", node, "--policy", "strict")
            guest.tell("busy")
            guest.ask("online", 1, 2, 3)
        guest.expect_all_online()


def live_objects():
    """They are counted, waited for, or moved."""
    with Guest() as guest:
        if refused_on_one_node(guest, "migrate"):
            return
        reply = guest.ask("offline", 1, "--policy", "strict", code=BUSY)
        if not reply["holders"] or not all(h["objects"] > 0 for h in reply["holders"]):
            fail("nobody is named", repr(reply))
        guest.ask("offline", 1, "--policy", "wait", "--timeout", "0.3", code=TIMED_OUT)
        guest.expect_all_online()
        guest.ask("offline", 1)
        guest.ask("online", 1, "--rebalance")
        guest.expect_all_online()


def last_node():
    with Guest() as guest:
        for node in range(NODES - 1):
            guest.ask("offline", node)
        guest.ask("offline", NODES - 1, code=BUSY)
        guest.tell("idle")
        guest.tell("busy")
        guest.ask("online", *range(NODES))
        guest.expect_all_online()


def unknown_node():
    with Guest() as guest:
        for command in ("offline", "online", "cordon", "why"):
            reply = guest.ask(command, 77, code=INVALID)
            if "no such node" not in reply["message"]:
                fail(command, repr(reply))
        guest.expect_all_online()


def while_allocating():
    """All nodes leave in turn, again and again, while every thread goes on."""
    with Guest() as guest:
        if refused_on_one_node(guest, "migrate"):
            return
        for i in range(20 * SCALE):
            guest.ask("offline", i % NODES)
            guest.ask("online", i % NODES, *(["--rebalance"] if i % 3 == 0 else []))
        guest.expect_all_online()


def at_once():
    """Requests for the same node from several sides: each is answered, and the last one holds."""
    with Guest() as guest:
        if refused_on_one_node(guest, "migrate"):
            return
        for _ in range(5 * SCALE):
            clients = [guest.start(word, 1) for word in ("offline", "online", "offline", "cancel")]
            for client in clients:
                out, err = client.communicate(timeout=120)
                if client.returncode not in (DONE, BUSY, CANCELLED):
                    fail(f"exit {client.returncode}", out, err)
            guest.ask("online", 1)
        guest.expect_all_online()


def client_dies():
    """A command belongs to its client: with it gone, the node is as before."""
    with Guest() as guest:
        if refused_on_one_node(guest, "wait"):
            return
        client = guest.start("offline", 1, "--policy", "wait")
        for _ in range(500):
            if guest.states()[1] == "going-offline":
                break
            time.sleep(0.02)
        client.kill()
        client.communicate()
        for _ in range(500):
            if guest.states()[1] == "online":
                break
            time.sleep(0.02)
        guest.expect_all_online()


def fork_while_leaving():
    """A child is not stuck in its parent's offline, and the parent goes on with it."""
    with Guest() as guest:
        if refused_on_one_node(guest, "wait"):
            return
        client = guest.start("offline", 1, "--policy", "wait", "--timeout", "60")
        for _ in range(4):
            guest.tell("fork")
        guest.ask("cancel", 1)
        client.communicate(timeout=60)
        if client.returncode != CANCELLED:
            fail(f"the offline ended with {client.returncode}")
        guest.expect_all_online()


def descriptors():
    """A program that closes everything and reuses the numbers loses neither its files nor an answer."""
    with Guest() as guest:
        guest.tell("reuse-descriptors")
        guest.ask("status")
        if NODES > 1:
            guest.ask("offline", 1)
            guest.tell("check-descriptors")
            guest.ask("online", 1)
        guest.ask("drain")
        guest.tell("check-descriptors")
        guest.expect_all_online()


def as_daemon():
    """The process that daemon() leaves behind is asked as any other."""
    with Guest("daemon") as guest:
        guest.ask("drain")
        if NODES > 1:
            guest.ask("offline", 2)
            guest.ask("online", 2)
        guest.expect_all_online()


ROWS = {"only-cached": only_cached, "live-objects": live_objects, "last-node": last_node,
        "unknown-node": unknown_node, "while-allocating": while_allocating, "at-once": at_once,
        "client-dies": client_dies, "fork-while-leaving": fork_while_leaving, "descriptors": descriptors,
        "daemon": as_daemon}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        if "LD_PRELOAD" not in SUBJECT_ENV:
            skip("there is no library in this mode")
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: hotplug.py ROW | --list")
