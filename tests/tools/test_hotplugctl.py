"""hotplugctl and slabnode-run against mock processes: exit codes, JSON, tables, finding processes."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from support import HERE, HOTPLUGCTL, ROOT, SLABNODE_RUN, MockCase, clean_environment


class ExitCodes(MockCase):
    def test_usage_is_1_and_touches_nothing(self):
        log = self.directory / "log"
        pid = self.start(f"log={log}").pid
        for words in ([], ["nonsense"], ["offline"], ["offline", "x"], ["offline", "3-1"],
                      ["offline", "1", "--policy", "none"], ["offline", "1", "--timeout", "-1"],
                      ["offline", "1", "--max-stall", "0"], ["offline", "1", "--max-stall", "0.5"],
                      ["status", "-o", "NOSUCH"], ["status", "--policy", "wait"],
                      ["cordon", "1", "2"], ["cordon", "1,2"], ["status", "1"], ["-a", "status"],
                      ["-p", "x", "status"], ["-s", "", "status"], ["events", "--since", "x"], ["fault"],
                      ["fault", "a\nb"], ["storm", "--rate", "-1"], ["storm", "--requests", "0"],
                      ["storm", "--clients", "99"], ["--nonsense"],
                      ["offline", "0-99999"], ["help", "nonsense"], ["--json", "metrics"],
                      ["topology", "--draw", "x.gif"], ["top", "--delay", "0"], ["top"]):
            with self.subTest(words=words):
                done = self.expect(1, "-p", pid, *words)
                self.assertEqual(done.stdout, "")
                self.assertNotEqual(done.stderr, "")
        for odd, shown in (("a\nb\033[7m\u009bé", "a?b?[7m??é"),
                           ("é" * 40000, "é...é")):
            for words, end in (([odd], "'hotplugctl help' lists them\n"),
                               (["offline", odd], "write a number, or a list such as 1,3-4\n"),
                               (["status", odd], "see 'hotplugctl help status'\n"),
                               (["-o", odd, "status"], "FALLBACK\n"),
                               (["events", "--since", odd], "'\n")):
                with self.subTest(words=[w[:20] for w in words]):
                    said = self.expect(1, "-p", pid, *words).stderr
                    self.assertIn(shown, said)
                    self.assertTrue(said.endswith(end), said)
                    self.assertLess(len(said.encode()), 1024)
                    self.assertEqual(said.count("\n"), 1)
        done = self.expect(1, "-p", pid, "offline", "1", "--", "chmem", "-d", "1")
        self.assertIn("'chmem' behind '--'", done.stderr)
        self.assertIn("--kernel", done.stderr)
        self.assertFalse(log.exists())
        self.expect(0, "-p", pid, "offline", "--", "1")

    def test_a_command_that_was_nearly_right(self):
        for word, meant in (("statsu", "status"), ("ofline", "offline"), ("slab", "slabinfo")):
            self.assertIn(f"did you mean '{meant}'", self.expect(1, word).stderr)
        self.assertIn("'hotplugctl help'", self.expect(1, "xyzzy").stderr)

    def test_no_process_is_2(self):
        done = self.expect(2, "-p", 2 ** 22 + 1, "status")
        self.assertIn("hotplugctl list", done.stderr)
        plain = subprocess.Popen(["sleep", "60"])
        try:
            done = self.expect(2, "-p", plain.pid, "status")
        finally:
            plain.kill()
            plain.wait()
        self.assertIn("slabnode-run", done.stderr)
        self.assertEqual(self.expect_json(2, "-p", 2 ** 22 + 1, "status")["error"], "ESRCH")
        self.expect(2, "-s", self.directory / "none.sock", "status")

    def test_refused_is_3(self):
        pid = self.start().pid
        done = self.expect(3, "-p", pid, "offline", "9")
        self.assertIn("there is no node 9 (ENODEV)", done.stderr)
        self.assertIn(f"hotplugctl -p {pid} topology", done.stderr)
        denying = self.start("mode=deny").pid
        denied = self.expect(3, "-p", denying, "status").stderr
        self.assertIn("EPERM", denied)
        self.assertIn("only the process's own user and root", denied)

    def test_busy_is_4_and_names_the_holders(self):
        pid = self.start("busy=1").pid
        done = self.expect(4, "-p", pid, "offline", "1", "--policy", "strict")
        self.assertIn("malloc-64", done.stdout)
        self.assertIn(f"hotplugctl -p {pid} why 1", done.stderr)
        self.assertIn("node 1 is busy: 3 objects in malloc-64, 1 large block (EBUSY); it is online",
                      done.stderr)
        self.assertIn("--policy migrate", done.stderr)
        reply = self.expect_json(4, "-p", pid, "offline", "1", "--policy", "strict")
        self.assertEqual((reply["error"], reply["node"], reply["state"]), ("EBUSY", 1, "online"))
        self.assertEqual(reply["holders"][0]["objects"], 3)

    def test_last_node_is_4(self):
        pid = self.start("nodes=1").pid
        self.assertIn("last usable", self.expect(4, "-p", pid, "offline", "0").stderr)

    def test_timed_out_is_6(self):
        pid = self.start("busy=1").pid
        done = self.expect(6, "-p", pid, "offline", "1", "--policy", "wait", "--timeout", "0.2")
        self.assertIn("--timeout", done.stderr)

    def test_different_nodes_are_64(self):
        pid = self.start("busy=1").pid
        done = self.expect(64, "-p", pid, "offline", "1", "2", "--policy", "strict")
        rows = done.stdout.splitlines()
        self.assertEqual(rows[0].split()[:3], ["NODE", "RESULT", "STATE"])
        self.assertRegex(rows[1], r"^ *1 +EBUSY +online .*live memory remains")
        self.assertRegex(rows[2], r"^ *2 +done +offline")
        self.assertIn(f"hotplugctl -p {pid} why 1", done.stderr)

    def test_same_refusal_of_all_nodes_keeps_its_code(self):
        pid = self.start("busy=1,2").pid
        self.expect(4, "-p", pid, "offline", "1,2", "--policy", "strict")

    def test_already_there_is_0_with_a_note(self):
        pid = self.start().pid
        self.expect(0, "-p", pid, "offline", "1")
        self.assertIn("was offline already", self.expect(0, "-p", pid, "offline", "1").stdout)
        self.expect(0, "-p", pid, "online", "1")
        self.assertIn("was online already", self.expect(0, "-p", pid, "online", "1").stdout)
        self.assertIn("nothing was under way", self.expect(0, "-p", pid, "cancel", "1").stdout)

    def test_broken_connections_are_2(self):
        for mode, words in (("hangup", "closed"), ("garbage", "not understood")):
            with self.subTest(mode=mode):
                pid = self.start(f"mode={mode}").pid
                self.assertIn(words, self.expect(2, "-p", pid, "status").stderr)
                self.assertFalse(self.expect_json(2, "-p", pid, "status")["ok"])

    def test_silent_and_stopped_processes_are_2(self):
        silent = self.start("mode=silent").pid
        self.assertIn("no answer", self.expect(2, "-p", silent, "status").stderr)
        stopped = self.start()
        stopped.send_signal(signal.SIGSTOP)
        done = self.expect(2, "-p", stopped.pid, "status")
        self.assertIn("stopped", done.stderr)
        self.assertIn("SIGCONT", done.stderr)

    def test_a_full_disk_is_no_success(self):
        pid = self.start().pid
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([HOTPLUGCTL, "-p", str(pid), "status"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("No space left", done.stderr)


class Advice(MockCase):
    """What is said of a failure is of use as it stands."""

    def test_a_crowd_of_clients_is_not_the_nodes_fault(self):
        pid = self.start("mode=crowded").pid
        done = self.expect(4, "-p", pid, "status")
        self.assertIn("too many clients (EAGAIN)", done.stderr)
        self.assertIn("try again", done.stderr)
        self.assertNotIn("plan", done.stderr)

    def test_nothing_is_said_twice(self):
        pid = self.start("nodes=1").pid
        done = self.expect(4, "-p", pid, "offline", "0")
        self.assertEqual(done.stderr.splitlines()[0], "hotplugctl: node 0: it is the last usable "
                         "node (EBUSY); it is online as before")

    def test_commands_are_named(self):
        pid = self.start().pid
        done = self.expect(3, "-p", pid, "fault", "nonsense=1")
        self.assertIn(f"'hotplugctl -p {pid} fault list'", done.stderr)
        done = self.expect(3, "-p", pid, "offline", "1", "--to", "1")
        self.assertIn("'hotplugctl help offline'", done.stderr)
        self.assertIn(f"'hotplugctl -p {pid} status'", done.stderr)
        done = self.expect(2, "-s", self.directory / "none.sock", "status")
        self.assertIn("'hotplugctl list -o PID,COMMAND,SOCKET'", done.stderr)
        self.assertNotIn("SLABNODE_CONTROL", done.stderr)

    def test_what_a_failure_moved(self):
        pid = self.start("busy=1", "moved=3145728", "guests=1048576").pid
        done = self.expect(4, "-p", pid, "offline", "1", "--policy", "strict")
        self.assertIn("2M were moved before and stay on other nodes", done.stderr)
        self.assertIn(f"'hotplugctl -p {pid} online 1 --rebalance'", done.stderr)
        self.assertIn("1M of other nodes, which lay there, have moved on", done.stderr)

    def test_what_to_do_stands_below_a_table_too(self):
        pids = [self.start("busy=1").pid for _ in range(2)]
        done = self.expect(4, "-a", "offline", "1", "--policy", "strict")
        self.assertEqual(done.stderr.splitlines(), [
            f"hotplugctl: 'hotplugctl -p {pids[0]} why 1' lists them, --policy migrate moves them, "
            "--policy wait waits until they are freed"])

    def test_nothing_to_do_has_no_figures(self):
        pid = self.start().pid
        self.expect(0, "-p", pid, "offline", "1")
        self.assertEqual(self.expect(0, "-p", pid, "offline", "1").stdout.splitlines(),
                         ["node 1: offline", "note: was offline already"])
        self.assertEqual(self.expect(0, "-p", pid, "cordon", "2").stdout,
                         "node 2: online, cordoned\n")
        self.assertEqual(self.expect(0, "-p", pid, "cancel", "2").stdout,
                         "node 2: online\nnote: nothing was under way\n")

    def test_other_memory_is_named(self):
        pid = self.start("other=1073741824").pid
        # The kernel of this machine has one node: what the mock is, lies there.
        words = self.expect(0, "-p", pid, "offline", "0").stdout.splitlines()
        at = [n for n, line in enumerate(words) if line.startswith("  other memory   1G of the")]
        self.assertEqual(len(at), 1, words)
        if not os.path.exists("/proc/self/numa_maps"):
            self.skipTest("this kernel has no numa_maps")
        named = {kind: amount for amount, kind in
                 re.findall(r"(\S+[KMG]) ([a-z() ]+)", words[at[0] + 1])}
        self.assertEqual(set(named), {"program and libraries", "files", "heap (brk)", "stack",
                                      "mappings"})
        self.assertRegex(named["program and libraries"], "M$")
        self.assertRegex(named["stack"], "K$")
        words = self.expect(0, "-p", pid, "offline", "1").stdout.splitlines()
        self.assertEqual(words[-1].split(), ["1G", "mappings"], "nothing of it lies on node 1")

    def test_the_whole_process(self):
        pid = self.start().pid
        done = self.expect(0, "-p", pid, "offline", "1", "--whole-process")
        self.assertRegex(done.stdout, r"(?m)^  whole process  8K moved, 4K stayed$")
        pid = self.start("other=4096").pid
        done = self.expect(0, "-p", pid, "offline", "1")
        self.assertIn("4K of the process is on the node; --whole-process moves it", done.stdout)
        done = self.expect(0, "-p", pid, "offline", "2", "--whole-process")
        self.assertIn("4K of the process is on the node still", done.stdout)


class Requests(MockCase):
    def test_options_become_keys(self):
        log = self.directory / "log"
        pid = self.start(f"log={log}").pid
        self.expect(0, "-p", pid, "offline", "1,2-3", "--policy", "wait", "--timeout", "2.5",
                    "--to", "0", "--max-stall", "7", "--whole-process")
        self.expect(0, "online", "3", "1", "--rebalance", "-p", pid)
        self.expect(0, "-p", pid, "drain")
        self.expect(0, "-p", pid, "slabinfo", "2")
        self.expect(0, "-p", pid, "fault", "veto", "step=2")
        self.assertEqual(log.read_text().splitlines(), [
            "offline 1 2 3 policy=wait timeout=2.5 max-stall=7 to=0 whole-process=1",
            "online 3 1 rebalance=1", "drain", "slabinfo 2", "fault veto step=2"])

    def test_cordon_and_figures(self):
        pid = self.start().pid
        self.assertIn("node 2: online, cordoned", self.expect(0, "-p", pid, "cordon", "2").stdout)
        self.assertRegex(self.expect(0, "-p", pid, "status").stdout, r"\n +2  ?online,cordoned")
        self.expect(0, "-p", pid, "uncordon", "2")
        self.assertIn("released       64K", self.expect(0, "-p", pid, "drain").stdout)
        self.assertIn("released       65536", self.expect(0, "-p", pid, "drain", "-b").stdout)
        done = self.expect(0, "-p", pid, "offline", "1")
        self.assertTrue(done.stdout.startswith("node 1: offline, policy migrate, 1.5 ms\n"))
        self.assertIn("moved          4K", done.stdout)
        for stall, shown in (("0.0061", "0.006"), ("0.25", "0.25"), ("12.74", "12.7"), ("2850.4", "2850")):
            pid = self.start(f"stall={stall}").pid
            self.assertIn(f"  longest stall  {shown} ms\n",
                          self.expect(0, "-p", pid, "offline", "1").stdout)

    def test_plan_why_version_options_help(self):
        pid = self.start().pid
        plan = self.expect(0, "-p", pid, "plan", "1").stdout
        self.assertIn("would not succeed", plan)
        self.assertIn("in the way     node 0 is full", plan)
        self.assertIn("node 0, free no limit", plan)
        why = self.expect(0, "-p", pid, "why", "1", "-n", "-o", "cache,bytes", "-b").stdout
        table, sites = why.split("\n\n")
        self.assertEqual(table.split(), ["malloc-64", "192", "large", "4194304"])
        # No process has anything at these addresses.
        self.assertEqual(sites.splitlines(), [
            "allocated by (estimates, one sample in 524288):",
            "3072 in 20 objects", "    0x11", "    0x1000",
            "100 in 1 objects", "    (stacks that are not known)",
            "and 2 smaller sites", "7 samples had no room and are missing"])
        self.assertIn("libslabnode 0.0-mock", self.expect(0, "-p", pid, "version").stdout)
        self.assertRegex(self.expect(0, "version").stdout, r"^hotplugctl \d+\.\d+")
        self.assertIn("SLABNODE_STATS", self.expect(0, "-p", pid, "options").stdout)
        self.assertIn("--rebalance", self.expect(0, "help", "online").stdout)

    def test_help_fits_80_columns(self):
        commands = re.findall(r"(?m)^  ([a-z]+) ", self.expect(0, "help").stdout
                              .split("Commands:")[1].split("\n\n")[0])
        for command in commands:
            lines = self.expect(0, "help", command).stdout.splitlines()
            self.assertRegex(lines[0], r"^usage: hotplugctl \[-p PID")
            self.assertIn(f" {command}", " ".join(lines))
            for line in lines:
                self.assertLessEqual(len(line), 80)
                self.assertEqual(line.count("["), line.count("]"), "an option stays on its line")


class Tables(MockCase):
    def test_every_table_fits_80_columns(self):
        pid = self.start().pid
        for words in (["list", "-p", pid], ["status"], ["slabinfo"], ["topology"], ["why", "1"],
                      ["plan", "1"], ["plan", "1", "-o", "node,feasible,move,room"],
                      ["topology", "-o", "node,state,distances,fallback"], ["help"]):
            lines = self.expect(0, "-p", pid, *words).stdout.splitlines() \
                if words[0] != "help" else self.expect(0, "help").stdout.splitlines()
            self.assertGreater(len(lines), 1, words)
            for line in lines:
                self.assertLessEqual(len(line), 80, (words, line))

    def test_status(self):
        pid = self.start().pid
        lines = self.expect(0, "-p", pid, "status").stdout.splitlines()
        self.assertEqual(lines[0], f"process: {pid} mock")
        self.assertEqual(lines[2], "fast path: rseq (the kernel has it)")
        self.assertEqual(lines[4].split(), ["NODE", "STATE", "CPUS", "CAPACITY", "LIVE", "CACHED",
                                            "SLABS", "LOCAL%", "RESIDENT", "FALLBACK"])
        self.assertEqual(lines[6].split(), ["1", "online", "4-7", "512M", "118M", "639K", "12345",
                                            "90.0", "777B", "0,2,3"])
        rows = self.expect(0, "-p", pid, "status", "-n", "-b", "-o", "node,live").stdout
        self.assertEqual(rows.split()[2:4], ["1", "123456789"])

    def test_topology_has_the_shape_of_numactl(self):
        pid = self.start("nodes=2").pid
        self.assertEqual(self.expect(0, "-p", pid, "topology").stdout, """\
topology: synthetic (simulated)
available: 2 nodes (0,1)
node 0 cpus: 0 1 2 3
node 0 size: 512 MB
node 0 state: online
node 1 cpus: 4 5 6 7
node 1 size: 512 MB
node 1 state: online
node distances:
node    0   1
  0:   10  20
  1:   20  10
node 0 fallback: 1
node 1 fallback: 0
""")

    def test_plan_and_topology_as_rows(self):
        pid = self.start("nodes=2").pid
        self.assertEqual(self.expect(0, "-p", pid, "plan", "1", "-n").stdout.split(),
                         ["1", "no", "4K", "0", "8K", "unlimited", "node", "0", "is", "full"])
        rows = self.expect(0, "-p", pid, "topology", "-b", "-o", "node,size,distances").stdout
        self.assertEqual([row.split() for row in rows.splitlines()],
                         [["NODE", "SIZE", "DISTANCES"], ["0", "536870912", "10,20"],
                          ["1", "536870912", "20,10"]])
        done = self.expect(0, "-a", "plan", "1", "-o", "pid,move")
        self.assertEqual(done.stdout.split(), ["PID", "MOVE", str(pid), "8K"])

    def test_slabinfo_leaves_empty_caches_out(self):
        pid = self.start().pid
        lines = self.expect(0, "-p", pid, "slabinfo").stdout.splitlines()
        self.assertEqual([line.split()[1] for line in lines[1:]], ["1", "2", "3"])

    def test_names_cannot_steer_the_terminal(self):
        pid = self.start("command=a\x1b[2Jb").pid
        for words in (["status"], ["list"]):
            self.assertNotIn("\x1b", self.expect(0, "-p", pid, *words).stdout)


class Json(MockCase):
    def test_replies_pass_through(self):
        pid = self.start().pid
        status = self.expect_json(0, "-p", pid, "status")
        self.assertEqual(status["new_field"], {"kept": True})
        self.assertIsInstance(status["nodes"][3]["fallback"], list)
        self.assertEqual(self.expect_json(0, "-p", pid, "slabinfo")["caches"][0]["node"], 0)
        self.assertEqual(self.expect_json(0, "-p", pid, "offline", "1")["elapsed_ms"], 1.5)

    def test_list_and_all(self):
        asked, mute = self.start().pid, self.start("mode=nosocket").pid
        found = {p["pid"]: p for p in self.expect_json(0, "list")["processes"]}
        self.assertEqual(found[asked]["live_bytes"], 1536)
        self.assertEqual(found[asked]["socket"], f"{self.rundir}/{asked}.sock")
        self.assertIsNone(found[mute]["live_bytes"])
        self.assertEqual(found[mute]["message"], "no control thread")
        results = {r["pid"]: r for r in self.expect_json(0, "-a", "status")["results"]}
        self.assertEqual(len(results[asked]["nodes"]), 4)
        self.assertFalse(results[mute]["ok"])


class Finding(MockCase):
    def test_the_only_one_needs_no_option(self):
        self.start("mode=nosocket")
        self.start()
        self.assertIn("FALLBACK", self.expect(0, "status").stdout)

    def test_several_are_a_choice(self):
        pids = [self.start().pid, self.start().pid]
        done = self.expect(2, "status")
        for pid in pids:
            self.assertIn(str(pid), done.stderr)
        self.assertIn("-p PID", done.stderr)
        done = self.expect(0, "-a", "offline", "1")
        self.assertEqual(done.stdout.count("done"), 2)
        self.expect(0, "-a", "topology")

    def test_rows_of_those_that_cannot_be_asked(self):
        mute = self.start("mode=nosocket").pid
        asked = self.start().pid
        self.assertRegex(self.expect(0, "list").stdout, rf"{mute} +\S+ +\(no control thread\)")
        done = self.expect(0, "-a", "status", "-o", "pid,node")
        self.assertRegex(done.stdout, rf"{mute} +\(\S+: no control thread\)")
        self.assertRegex(done.stdout, rf"{asked} +3")
        done = self.expect(0, "-a", "status", "-o", "node,pid")
        self.assertRegex(done.stdout, rf"\(pid {mute}, \S+: no control thread\)")
        self.assertRegex(self.expect(0, "-a", "status").stdout, rf"{asked} +mock +3 +online")

    def test_those_that_cannot_be_asked_are_no_failure_of_others(self):
        mute = self.start("mode=nosocket").pid
        self.expect(2, "-a", "status")
        self.expect(2, "-a", "offline", "1")
        asked = self.start().pid
        done = self.expect(0, "-a", "offline", "1")
        self.assertRegex(done.stdout, rf"(?m)^ *{asked} .* done ")
        self.assertIn("note: 1 process could not be asked; what it has on the node stays there\n",
                      done.stdout)
        self.assertEqual(done.stderr, "")
        self.assertNotIn("note", self.expect(0, "-a", "online", "1").stdout)
        results = self.expect_json(0, "-a", "cordon", "1")["results"]
        self.assertEqual({r["pid"]: r["ok"] for r in results}, {mute: False, asked: True})
        stopped = self.start()
        stopped.send_signal(signal.SIGSTOP)
        self.expect(64, "-a", "status")

    def test_a_run_directory_that_went_away(self):
        pid = self.start("mode=rundirless", environment={
            "SLABNODE_RUNDIR": "/nowhere/at all", "LD_PRELOAD": "libm.so.6"}).pid
        os.unlink(self.rundir / f"{pid}.sock")
        done = self.expect(2, "-p", pid, "status")
        self.assertEqual(done.stderr.splitlines(), [
            "hotplugctl: its socket was not found: /nowhere/at all: No such file or directory (ENOENT)",
            "hotplugctl: its run directory was removed, or is not to be seen from here; "
            "SLABNODE_RUNDIR names one that stays"])
        self.start()
        self.expect(64, "-a", "status")

    def test_none(self):
        done = self.expect(2, "status")
        self.assertIn("slabnode-run", done.stderr)
        self.assertEqual(self.expect(2, "list").returncode, 2)

    def test_default_directories(self):
        runtime = self.directory / "xdg"
        runtime.mkdir()
        pid = self.start(environment={"SLABNODE_RUNDIR": "", "XDG_RUNTIME_DIR": str(runtime)},
                         rundir=runtime / "slabnode").pid
        self.expect(0, "-p", pid, "status")
        own = pathlib.Path("/run/slabnode" if os.geteuid() == 0
                           else f"/tmp/slabnode-{os.geteuid()}")
        existed = own.exists()
        if not os.access(own if existed else own.parent, os.W_OK):
            self.skipTest("the default directory belongs to the root of the whole system")
        pid = self.start(environment={"SLABNODE_RUNDIR": ""}, rundir=own).pid
        self.expect(0, "-p", pid, "status")
        (own / f"{pid}.sock").unlink()
        if not existed:
            own.rmdir()

    def test_long_run_directory(self):
        deep = self.directory / ("d" * 60)
        deep.mkdir()
        link = self.directory / "s"
        link.symlink_to(deep)
        pid = self.start(environment={"SLABNODE_RUNDIR": str(deep)}, rundir=link).pid
        self.expect(0, "-p", pid, "status")
        self.expect(0, "-s", deep / f"{pid}.sock", "status")

    def test_overwritten_environment(self):
        pid = self.start("mode=rundirless", environment={"SLABNODE_RUNDIR": "/nowhere"}).pid
        self.expect(0, "-p", pid, "status")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
    def test_a_closed_directory_of_others_is_no_answer(self):
        """Other places are guesses: root's directory, say, is closed to everybody else."""
        closed = self.directory / "closed"
        closed.mkdir(mode=0o700)
        self.directory.chmod(0o755)
        tools = self.directory / "tools"
        tools.mkdir(mode=0o755)
        shutil.copy(HOTPLUGCTL, tools)
        mute = subprocess.Popen(["setpriv", "--reuid", "65534", "--clear-groups", "/usr/bin/python3",
                                 HERE / "mock_server.py", self.library, "/nowhere",
                                 "mode=nosocket"], stdout=subprocess.PIPE, text=True,
                                env=clean_environment(SLABNODE_RUNDIR="/nowhere"))
        self.addCleanup(self.end, mute)
        if mute.stdout.readline() != "ready\n":
            self.skipTest("another user may not read the tests")
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups",
                               tools / "hotplugctl", "list"], capture_output=True, text=True,
                              env=clean_environment(SLABNODE_RUNDIR=str(closed)), check=False)
        self.assertRegex(done.stdout, rf"{mute.pid} +\S+ +\(no control thread\)")

    def test_a_leftover_socket_is_no_control_thread(self):
        mock = self.start("mode=nosocket")
        self.rundir.mkdir()
        other = self.start()
        (self.rundir / f"{mock.pid}.sock").symlink_to(self.rundir / f"{other.pid}.sock")
        self.assertIn("no control thread", self.expect(2, "-p", mock.pid, "status").stderr)
        os.unlink(self.rundir / f"{mock.pid}.sock")
        os.link(self.rundir / f"{other.pid}.sock", self.rundir / f"{mock.pid}.sock")
        self.assertIn("no control thread", self.expect(2, "-p", mock.pid, "status").stderr)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "needs root and unshare")
    def test_pid_namespace_and_other_root(self):
        script = (f"mount -t tmpfs none /mnt && exec {sys.executable} {HERE}/mock_server.py "
                  f"{self.library} /mnt/run")
        box = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount",
                                "--mount-proc", "sh", "-c", script], stdout=subprocess.PIPE,
                               text=True, env=clean_environment(SLABNODE_RUNDIR="/mnt/run"))
        self.addCleanup(self.end, box)
        if box.stdout.readline() != "ready\n":
            self.skipTest("namespaces are not permitted here")
        found = self.expect_json(0, "list")["processes"]
        self.assertEqual([p["live_bytes"] for p in found], [1536])
        self.assertEqual(found[0]["socket"], "/mnt/run/1.sock")
        self.assertGreater(found[0]["pid"], 1)
        self.expect(0, "-p", found[0]["pid"], "status")
        figures = self.expect(0, "metrics").stdout
        self.assertIn(f'slabnode_process_up{{pid="{found[0]["pid"]}",command="mock"}} 1', figures)
        self.assertIn('namespace_pid="1"', figures)


class LongCommands(MockCase):
    def start_offline(self, pid, *more, **how):
        return subprocess.Popen([HOTPLUGCTL, "-p", str(pid), "offline", "1", "--policy", "wait",
                                 *more], stdout=subprocess.PIPE, text=True,
                                env=clean_environment(), **how)

    def wait_state(self, pid, state):
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            now = self.expect_json(0, "-p", pid, "status")["nodes"][1]["state"]
            if now == state:
                return
            time.sleep(0.02)
        self.fail(f"node 1 never became {state}")

    def test_interrupt_cancels_and_reports(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                pid = self.start("busy=1").pid
                tool = self.start_offline(pid, stderr=subprocess.PIPE)
                self.wait_state(pid, "going-offline")
                tool.send_signal(number)
                _, errors = tool.communicate(timeout=20)
                self.assertEqual(tool.returncode, 5, errors)
                self.assertIn("node 1 is back", errors)
                self.wait_state(pid, "online")

    def test_killed_client_means_rollback(self):
        pid = self.start("busy=1").pid
        tool = self.start_offline(pid, stderr=subprocess.PIPE)
        self.wait_state(pid, "going-offline")
        tool.kill()
        tool.communicate()
        self.wait_state(pid, "online")

    def test_detach_leaves_at_once(self):
        pid = self.start("busy=1").pid
        reply = self.expect_json(0, "-p", pid, "offline", "1", "--policy", "wait", "--detach")
        self.assertEqual((reply["node"], reply["detached"]), (1, True))
        time.sleep(0.3)
        self.wait_state(pid, "going-offline")
        self.expect(0, "-p", pid, "cancel", "1")
        self.wait_state(pid, "online")

    def test_process_ends_meanwhile(self):
        mock = self.start("busy=1")
        tool = self.start_offline(mock.pid, stderr=subprocess.PIPE)
        self.wait_state(mock.pid, "going-offline")
        mock.kill()
        mock.wait()
        _, errors = tool.communicate(timeout=20)
        self.assertEqual(tool.returncode, 2)
        self.assertIn("ended", errors)

    def test_progress_bar_on_a_terminal_only(self):
        pid = self.start("busy=1").pid
        master, slave = pty.openpty()
        tool = self.start_offline(pid, "--timeout", "1.5", stderr=slave)
        os.close(slave)
        drawn = b""
        while select.select([master], [], [], 10)[0]:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            drawn += part
        tool.communicate(timeout=20)
        os.close(master)
        self.assertEqual(tool.returncode, 6)
        text = drawn.decode()
        self.assertRegex(text, r"\rnode 1 waiting +\[#*\.*\] +\d+%  \d+ of 1000  \d+/s  \d+[sm] left")
        for line in re.split(r"[\r\n]", text):
            self.assertLessEqual(len(line.replace("\x1b[K", "")), 140)
        done = self.expect(6, "-p", pid, "offline", "1", "--policy", "wait", "--timeout", "0.5")
        self.assertNotIn("%", done.stderr)


class Events(MockCase):
    def test_recorded_and_since(self):
        pid = self.start().pid
        self.expect(0, "-p", pid, "offline", "1")
        lines = self.expect(0, "-p", pid, "events", "--no-follow").stdout.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"^ +1 \d\d:\d\d:\d\d\.\d{3} node 1: online -> going-offline")
        one = self.expect_json(0, "-p", pid, "events", "--no-follow", "--since", "1")
        self.assertEqual((one["seq"], one["to"]), (2, "offline"))

    def test_follow_shows_at_once_and_ends_with_the_process(self):
        mock = self.start()
        tool = subprocess.Popen([HOTPLUGCTL, "-p", str(mock.pid), "--json", "events"], text=True,
                                stdout=subprocess.PIPE, env=clean_environment())
        self.expect(0, "-p", mock.pid, "offline", "2")
        self.assertEqual(json.loads(tool.stdout.readline())["to"], "going-offline")
        self.assertEqual(json.loads(tool.stdout.readline())["to"], "offline")
        mock.kill()
        mock.wait()
        self.assertEqual(json.loads(tool.stdout.readline())["error"], "ESRCH")
        self.assertEqual(tool.wait(10), 2)
        tool.stdout.close()

    def test_interrupt_is_the_end(self):
        pid = self.start().pid
        tool = subprocess.Popen([HOTPLUGCTL, "-p", str(pid), "events"], stdout=subprocess.PIPE,
                                text=True, env=clean_environment())
        self.expect(0, "-p", pid, "offline", "2")
        tool.stdout.readline()
        tool.send_signal(signal.SIGINT)
        tool.communicate(timeout=10)
        self.assertEqual(tool.returncode, 0)


class Storm(MockCase):
    def storm(self, log, *options, words=()):
        pid = self.start(f"log={log}", *options).pid
        report = self.expect_json(0, "-p", pid, "storm", "--seed", "7", "--requests", "150",
                                  "--rate", "0", *words)
        nodes = self.expect_json(0, "-p", pid, "status")["nodes"]
        self.assertEqual([n["state"] for n in nodes], ["online"] * 4)
        self.assertFalse(any(n["cordoned"] for n in nodes))
        lines = log.read_text().splitlines()
        # Cancels come by a connection of their own: their place among the others is open.
        return report, [line for line in lines if not line.startswith("cancel")]

    def test_seed_reproduces_and_nodes_come_back(self):
        report, first = self.storm(self.directory / "one")
        self.assertEqual((report["ok"], report["seed"], report["failures"]), (True, "7", []))
        self.assertEqual({r["request"] for r in report["requests"]},
                         {"offline", "online", "cancel", "cordon", "uncordon", "drain", "plan",
                          "why", "status", "slabinfo"})
        self.assertGreaterEqual(report["changes"], 150)
        _, second = self.storm(self.directory / "two")
        # The last ones bring nodes back; what the number of cancels left room for may differ.
        self.assertGreater(len(first), 150)
        self.assertEqual(first[:140], second[:140])

    def test_busy_nodes_are_no_failure(self):
        report, _ = self.storm(self.directory / "log", "busy=0,1,2,3")
        offline = report["requests"][0]
        self.assertGreater(offline["busy"] + offline["timed_out"], 0)
        self.assertEqual(sum(offline["errors"].values()) >= offline["busy"], True)

    def test_several_clients_share_the_requests(self):
        report, _ = self.storm(self.directory / "log", words=("--clients", "3"))
        self.assertEqual(report["failures"], [])
        self.assertGreaterEqual(report["changes"], 150)
        self.assertLess(report["changes"], 200)

    def test_through_a_socket_that_was_named(self):
        pid = self.start().pid
        report = self.expect_json(0, "-s", self.rundir / f"{pid}.sock", "storm", "--seed", "7",
                                  "--requests", "20", "--rate", "0")
        self.assertEqual(report["failures"], [])

    def test_needs_two_nodes(self):
        pid = self.start("nodes=1").pid
        done = self.expect(4, "-p", pid, "storm")
        self.assertIn("two nodes with memory", done.stderr)
        self.assertIn("'hotplugctl status' shows them", done.stderr)

    def test_several_processes_at_once(self):
        logs = [self.directory / name for name in ("one", "two")]
        pids = [self.start(f"log={log}").pid for log in logs]
        mute = self.start("mode=nosocket").pid
        words = ("-a", "storm", "--seed", "3", "--requests", "40", "--rate", "0")
        rows = self.expect(0, *words).stdout.splitlines()
        self.assertEqual(rows[0], "storm: seed 3, 3 processes")
        for pid in pids:
            self.assertEqual([re.search(rf"^ *{pid} +\S+ +[4-9]\d +[1-9]\d", row) is not None
                              for row in rows].count(True), 1)
        self.assertRegex("\n".join(rows), rf"(?m)^ *{mute} +\S+ +\(no control thread\)$")
        asked = [[line for line in log.read_text().splitlines() if not line.startswith("cancel")]
                 for log in logs]
        self.assertEqual(asked[0][:30], asked[1][:30], "the seed is everybody's")
        results = {r["pid"]: r for r in self.expect_json(0, *words)["results"]}
        self.assertEqual([results[pid]["ok"] for pid in (*pids, mute)], [True, True, False])
        self.assertGreaterEqual(results[pids[0]]["changes"], 40)

    def test_interrupt_ends_all_storms(self):
        logs = [self.directory / name for name in ("one", "two")]
        pids = [self.start(f"log={log}").pid for log in logs]
        tool = subprocess.Popen([HOTPLUGCTL, "-a", "storm", "--duration", "60", "--rate", "50"],
                                stdout=subprocess.PIPE, text=True, env=clean_environment())
        while not all(log.exists() and "offline" in log.read_text() for log in logs):
            time.sleep(0.05)
        tool.send_signal(signal.SIGINT)
        out, _ = tool.communicate(timeout=20)
        self.assertEqual(tool.returncode, 5, out)
        for pid in pids:
            nodes = self.expect_json(0, "-p", pid, "status")["nodes"]
            self.assertEqual([n["state"] for n in nodes], ["online"] * 4)


class Words(unittest.TestCase):
    """Help and manual name the same commands and options; completion reads the former."""

    def test_same_words_everywhere(self):
        text = subprocess.run([HOTPLUGCTL, "help"], capture_output=True, text=True,
                              check=True).stdout
        commands = re.findall(r"^  ([a-z]+) ", text.split("Commands:")[1], re.M)
        self.assertEqual(len(commands), 21)
        manual = (ROOT / "docs/man/hotplugctl.1").read_text().replace("\\-", "-")
        for command in commands:
            self.assertRegex(manual, rf"(?m)^\.It Cm {command}\b")
            usage = subprocess.run([HOTPLUGCTL, "help", command], capture_output=True, text=True,
                                   check=True).stdout
            for option in re.findall(r"--([a-z-]+)", usage.split("\n\n")[0]):
                if option == "json":
                    continue
                self.assertIn(f"-{option}", manual)


class Wrapper(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="slabnode-run-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        (self.directory / "tools").mkdir()
        (self.directory / "preload").mkdir()
        self.tool = self.directory / "tools" / "slabnode-run"
        shutil.copy(SLABNODE_RUN, self.tool)
        self.library = self.directory / "preload" / "libslabnode.so"
        source = self.directory / "empty.c"
        source.write_text("int slabnode_mock = 1;\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source], check=True)

    def run_tool(self, *arguments, **environment):
        return subprocess.run([self.tool, *map(str, arguments)], capture_output=True, text=True,
                              env=clean_environment(**environment), check=False)

    def test_environment(self):
        done = self.run_tool("--topology", "synthetic:numa:4 pu:1", "--node-capacity", "0:1G",
                             "--offline", "1", "--offline", "2-3", "--policy", "wait",
                             "--fastpath", "locked", "--stats", "exit", "--hardened", "2", "env",
                             LD_PRELOAD="/nowhere/x.so")
        lines = done.stdout.splitlines()
        for line in (f"LD_PRELOAD={self.library}:/nowhere/x.so",
                     "SLABNODE_TOPOLOGY=synthetic:numa:4 pu:1", "SLABNODE_NODE_CAPACITY=0:1G",
                     "SLABNODE_OFFLINE=1,2-3", "SLABNODE_OFFLINE_POLICY=wait",
                     "SLABNODE_FASTPATH=locked", "SLABNODE_STATS=exit", "SLABNODE_HARDENED=2"):
            self.assertIn(line, lines)

    def test_exit_codes(self):
        self.assertEqual(self.run_tool("--", "sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.run_tool("no-such-program").returncode, 127)
        self.assertEqual(self.run_tool(self.directory).returncode, 126)
        self.assertEqual(self.run_tool().returncode, 125)
        self.assertEqual(self.run_tool("--nonsense").returncode, 125)
        self.assertEqual(self.run_tool("--offline", "x", "true").returncode, 125)
        self.assertEqual(self.run_tool("--library", "/nowhere.so", "true").returncode, 125)
        self.assertEqual(self.run_tool("--help").returncode, 0)
        self.library.unlink()
        done = self.run_tool("true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("--library", done.stderr)

    def test_named_library_and_arguments_stay(self):
        other = self.directory / "other.so"
        shutil.copy(self.library, other)
        done = self.run_tool("--library", other, "sh", "-c", 'echo "$LD_PRELOAD" "$@"', "sh",
                             "--help", "a b")
        self.assertEqual(done.stdout, f"{other} --help a b\n")


if __name__ == "__main__":
    unittest.main()
