"""The demo's story: redis under libslabnode.so loses memory nodes and gets them back while clients
write to it and verify every byte they read. Each step says what an operator would type, shows the
real output, and checks exit code and node states; the end is a failure if one of them was wrong."""

import os
import signal
import sys
import time

import load
import resp
import screen
import server
import values

LIVE, ARCHIVE, SESSIONS, CACHE = range(4)
LIVE_KEYS, ARCHIVE_KEYS, SESSION_KEYS, CACHE_KEYS = 8000, 16000, 8000, 12000
# Redis's I/O threads join from eight busy connections on; the rush hour brings these.
LIVE_CONNECTIONS, ARCHIVE_CONNECTIONS, BACKGROUND, RUSH = 3, 2, 1, 8
LOADING = 200
NODES = range(4)
COLUMNS = "NODE,STATE,CPUS,LIVE,CACHED,RESIDENT,ELSEWHERE,FALLBACK"
# Exit codes of hotplugctl.
DONE, BUSY, TIMED_OUT = 0, 4, 6
_SECONDS_BETWEEN_STEPS = 3.0


class Demo:
    """State of the telling, and its steps."""

    def __init__(self, machine):
        self.machine = machine
        self.counters = load.Counters.shared()
        self.complaints = os.path.join(machine.directory, "complaints")
        self.client = None
        self.number = 0
        self.loaded = 0
        self.failures = []
        # What each phase of the load was: its latencies are kept apart.
        self.phases = []

    # --- checks ----------------------------------------------------------------------------
    def expect(self, right, success, failure):
        if right:
            screen.good(success)
        else:
            screen.bad(failure)
            self.failures.append("step %d: %s" % (self.number, failure))

    def expect_states(self, **expected):
        """What status says of node0, node1 ...; nothing may be left on a node that is offline."""
        nodes = self.machine.nodes()
        wrong = []
        for name, state in expected.items():
            row = nodes[int(name[4:])]
            if row["state"] != state:
                wrong.append("node %d is %s, not %s" % (row["node"], row["state"], state))
            elif state == "offline" and row["resident_bytes"]:
                wrong.append("node %d still has %d bytes" % (row["node"], row["resident_bytes"]))
        for text in wrong:
            screen.bad(text)
            self.failures.append("step %d: %s" % (self.number, text))

    # --- what the steps are made of ----------------------------------------------------------
    def step(self, title, kind="transitions"):
        self.number += 1
        screen.heading(self.number, title)
        self.phase(kind)

    def phase(self, kind):
        self.counters.phase = len(self.phases)
        self.phases.append((kind, self.number))

    def operator(self, *words, expected=DONE, limit=0):
        """Types a hotplugctl command and shows what it says."""
        screen.typed("hotplugctl " + " ".join(words))
        status, text = self.machine.ask(*words)
        self.show_result(words, status, text, expected, limit)

    def show_result(self, words, status, text, expected, limit=0):
        screen.output(text, limit)
        if status != DONE or expected != DONE:
            screen.show("    " + screen.styled("(exit code %d)" % status, "dim"))
        if status != expected:
            self.expect(False, "", "'%s': exit code %d where %d was expected"
                        % (" ".join(words), status, expected))

    def table(self):
        """The node table, without the lines above it, which do not change."""
        screen.typed("hotplugctl status")
        status, text = self.machine.ask("status", "-o", COLUMNS)
        if status:
            self.expect(False, "", "status: exit code %d: %s" % (status, text))
        screen.output(text[max(text.find("NODE"), 0):])

    def line(self):
        counters = self.counters
        return ("requests so far %s, failed %d, wrong %d; slowest here %.1f ms"
                % (format(counters.requests, ","), counters.failed, counters.wrong,
                   counters.slowest[counters.phase] * 1000))

    def watch(self, seconds=_SECONDS_BETWEEN_STEPS):
        screen.watch(self.line, lambda: self.counters.failed or self.counters.wrong, seconds)

    # --- data --------------------------------------------------------------------------------
    def fill(self, database, keys):
        """Stores version 1 of every key, in batches; the client counts what was not OK."""
        with resp.Client(self.machine.socket, database) as client:
            for start in range(0, keys, LOADING):
                numbers = range(start, min(start + LOADING, keys))
                request = b"".join(resp.command(b"SET", values.key(database, number),
                                                values.value(database, number, 1))
                                   for number in numbers)
                self.loaded += sum(reply == resp.OK
                                   for reply in client.ask(request, len(numbers)))

    def place(self, node, database, keys):
        """Fills a database while only one node takes new memory, so that it lies there."""
        others = [other for other in NODES if other != node]
        screen.typed("for n in %s; do hotplugctl cordon $n; done  # then load; then uncordon"
                     % " ".join(map(str, others)))
        for other in others:
            self.quietly("cordon", str(other))
        self.fill(database, keys)
        for other in others:
            self.quietly("uncordon", str(other))

    def quietly(self, *words, expected=DONE):
        status, text = self.machine.ask(*words)
        if status != expected:
            self.expect(False, "", "'%s': exit code %d: %s" % (" ".join(words), status, text))

    def delete(self, database, start, end):
        with resp.Client(self.machine.socket, database) as client:
            numbers = [values.key(database, number) for number in range(start, end)]
            client.ask(resp.command(b"DEL", *numbers))

    def flush(self, database):
        with resp.Client(self.machine.socket, database) as client:
            client.ask(resp.command(b"FLUSHDB", b"SYNC"))

    # --- the steps ---------------------------------------------------------------------------
    def start_the_server(self):
        self.step("An unmodified redis-server on four simulated NUMA nodes", "start")
        screen.typed("slabnode-run --topology '%s' \\" % server.TOPOLOGY)
        screen.show("      " + screen.styled(
            "--node-capacity %s -- redis-server --io-threads 4" % server.CAPACITY, "cyan"))
        self.machine.start_server()
        screen.say("redis-server is the system's own; libslabnode.so is its malloc by LD_PRELOAD. "
                   "hotplugctl finds the only such process by itself, else: -p %d."
                   % self.machine.server.pid)
        screen.typed("hotplugctl status")
        _, text = self.machine.ask("status")
        screen.output(text)
        self.expect_states(node0="online", node1="online", node2="online", node3="online")

    def give_every_node_something(self):
        self.step("Before: three more databases, each on a node of its own", "start")
        screen.say("The server's main thread belongs to node 0 and allocates there. To have "
                   "something to lose elsewhere too, the other nodes are cordoned (no new memory) "
                   "while a database is loaded.")
        self.place(1, ARCHIVE, ARCHIVE_KEYS)
        self.place(2, SESSIONS, SESSION_KEYS)
        self.place(3, CACHE, CACHE_KEYS)
        wanted = ARCHIVE_KEYS + SESSION_KEYS + CACHE_KEYS
        self.expect(self.loaded == wanted,
                    "%d keys: archive on node 1, sessions on node 2, cache on node 3" % wanted,
                    "%d of %d keys could not be loaded" % (wanted - self.loaded, wanted))
        self.table()

    def start_the_load(self):
        self.step("Load: verifying clients, and redis-benchmark besides", "calm")
        self.client = load.start(self.counters, self.machine.socket, self.complaints,
                                 self.machine.server.pid,
                                 (LIVE, LIVE_KEYS, LIVE_CONNECTIONS),
                                 (ARCHIVE, ARCHIVE_KEYS, ARCHIVE_CONNECTIONS), os.getpid())
        self.machine.start_background(BACKGROUND)
        screen.say("Every value follows from its key and version, so every read is verified byte "
                   "by byte: of live keys that are overwritten all the time, and of the archive "
                   "on node 1. It goes on until the end of the demo. A request's time includes "
                   "that of its whole batch of %d and of this client." % load.BATCH)
        self.watch(3)

    def migrate(self):
        self.step("Take node 1 away: migrate (the default) moves what lives there")
        self.operator("plan", "1", limit=6)
        self.operator("offline", "1")
        self.expect_states(node1="offline")
        self.table()
        screen.say("The archive's pages are on other nodes now, at the same addresses; the server "
                   "noticed nothing, and node 1 gets no new memory.")
        self.watch()

    def refuse_a_busy_node(self):
        self.step("Node 2, strict: refused, live data is in the way")
        self.operator("offline", "2", "--policy", "strict", expected=BUSY, limit=5)
        self.expect_states(node2="online")
        screen.say("strict never waits and moves nothing of the node's own: it names the holders, "
                   "and node 2 allocates again as before. Pages that node 1 had moved here went on "
                   "to others.")
        self.watch()

    def empty_a_cached_node(self):
        self.step("Node 3, strict: only cached memory is there, so it goes")
        screen.typed("redis-cli -n %d FLUSHDB SYNC" % CACHE)
        before = self.machine.nodes()[3]
        self.flush(CACHE)
        after = self.machine.nodes()[3]
        screen.say("node 3: live %.1f -> %.1f MiB, cached %.1f -> %.1f MiB" % tuple(
            row[what] / 2**20 for what in ("live_bytes", "cached_bytes")
            for row in (before, after)))
        self.operator("offline", "3", "--policy", "strict", limit=3)
        self.expect_states(node3="offline")
        screen.say("What the program has freed, however deep in caches, holds no node back.")
        self.watch()

    def wait_in_vain(self):
        self.step("Node 2, wait: nobody frees anything within 2 seconds")
        self.operator("offline", "2", "--policy", "wait", "--timeout", "2", expected=TIMED_OUT,
                      limit=5)
        self.expect_states(node2="online")
        screen.say("Timed out and rolled back: node 2 is online as if nothing had been asked.")
        self.watch(1)

    def wait_for_the_sessions(self):
        self.step("Node 2, wait: the sessions expire, then the node goes")
        words = ("offline", "2", "--policy", "wait", "--timeout", "30")
        screen.typed("hotplugctl " + " ".join(words) + " &")
        waiting = self.machine.control(*words)
        chunk = SESSION_KEYS // 8
        for start in range(0, SESSION_KEYS, chunk):
            if start == SESSION_KEYS // 2:
                screen.say("While sessions are being deleted, half way:")
                self.table()
                self.expect_states(node2="going-offline")
            self.delete(SESSIONS, start, start + chunk)
            time.sleep(0.25)
        self.flush(SESSIONS)
        status, text = server.finished(waiting, 40)
        self.show_result(words, status, text, DONE, limit=3)
        self.expect_states(node2="offline")
        screen.say("The last free let it go: no polling, nothing moved.")
        self.watch()

    def refuse_the_last_node(self):
        self.step("Node 0 is the last one: refused under every policy")
        self.operator("offline", "0", expected=BUSY)
        for policy in ("strict", "wait"):
            self.quietly("offline", "0", "--policy", policy, expected=BUSY)
        self.expect_states(node0="online", node1="offline", node2="offline", node3="offline")
        self.watch(1.5)

    def bring_back(self):
        self.step("Nodes come back; with --rebalance their pages return")
        self.operator("online", "1", "--rebalance", limit=5)
        self.operator("online", "2,3")
        self.expect_states(node0="online", node1="online", node2="online", node3="online")
        self.table()
        self.watch()

    def several_at_once(self):
        self.step("Two at once: the archive's node and the server's own")
        self.operator("offline", "0", "1", expected=DONE)
        self.expect_states(node0="offline", node1="offline", node2="online", node3="online")
        self.table()
        screen.say("Both left the allocation masks first, so neither was the other's target. The "
                   "main thread allocates on another node from now on.")
        self.watch(3)

    def storm(self):
        self.step("Rush hour and a storm: redis's I/O threads, random requests", "rush hour")
        self.operator("online", "0,1", "--rebalance")
        self.machine.start_background(RUSH)
        screen.say("With %d more connections redis's four threads all join in. They spin, which "
                   "on few CPUs costs far more than any transition, so first some seconds of "
                   "that alone:" % RUSH)
        self.watch(3)
        self.phase("rush hour and storm")
        self.operator("storm", "--seed", "7", "--duration", "4")
        self.watch(0.5)

    def after(self):
        self.step("After: all nodes are back, and the rush hour is over")
        self.stop_pressure()
        self.operator("online", "0-3", "--rebalance")
        self.expect_states(node0="online", node1="online", node2="online", node3="online")
        self.table()
        self.watch()

    # --- the end -----------------------------------------------------------------------------
    def stop_pressure(self):
        for status in self.machine.stop_background():
            self.failures.append("redis-benchmark ended with exit code %d before its time" % status)

    def stop_the_load(self):
        """Ends the clients, then looks at what the server itself counted."""
        self.counters.stop = 1
        _, status = os.waitpid(self.client, 0)
        self.client = None
        if status:
            self.failures.append("the load client ended with status %d" % status)
        statistics = self.machine.information("stats")
        self.commands = int(statistics["total_commands_processed"])
        errors = int(statistics["total_error_replies"])
        if errors:
            self.failures.append("the server gave %d error replies" % errors)
        self.verify_everything()

    def verify_everything(self):
        """Once more, every key of the archive, in order."""
        with resp.Client(self.machine.socket, ARCHIVE) as client:
            for number in range(ARCHIVE_KEYS):
                expected = resp.bulk(values.value(ARCHIVE, number, 1))
                reply = client.ask(resp.command(b"GET", values.key(ARCHIVE, number)))[0]
                if reply != expected:
                    self.failures.append("archive key %d differs" % number)
                    return

    def slowest(self, kind):
        """The longest latency in the phases of one kind, its wait for a CPU, in ms, the step."""
        counters = self.counters
        return max((counters.slowest[index] * 1000, counters.waited[index] * 1000, step)
                   for index, (which, step) in enumerate(self.phases) if which == kind)

    def summary(self):
        counters = self.counters
        screen.show()
        screen.show(screen.styled("Summary " + "-" * (screen.WIDTH - 8), "bold"))
        screen.show("  verified requests   %15s" % format(counters.requests, ","))
        screen.show("  failed              %15d" % counters.failed)
        screen.show("  wrong values        %15d" % counters.wrong)
        screen.show("  all the server did  %15s  commands, with redis-benchmark's"
                    % format(self.commands, ","))
        screen.show("  slowest request               ms  of it without a free CPU  step")
        for kind in ("calm", "transitions", "rush hour", "rush hour and storm"):
            screen.show("    %-20s %11.1f  %24.1f  %4d" % ((kind,) + self.slowest(kind)))
        screen.show()

    def complain(self):
        try:
            with open(self.complaints, encoding="utf-8") as file:
                self.failures += file.read().splitlines()
        except FileNotFoundError:
            pass
        for text in self.failures:
            screen.bad(text)

    def tell(self):
        self.start_the_server()
        self.give_every_node_something()
        self.start_the_load()
        self.migrate()
        self.refuse_a_busy_node()
        self.empty_a_cached_node()
        self.wait_in_vain()
        self.wait_for_the_sessions()
        self.refuse_the_last_node()
        self.bring_back()
        self.several_at_once()
        self.storm()
        self.after()
        self.stop_the_load()
        self.summary()

    def end_load(self):
        if self.client:
            os.kill(self.client, signal.SIGKILL)
            os.waitpid(self.client, 0)


def next_steps():
    screen.say("Everything was as asked. What to try next:")
    for command, text in (
            ("build/tools/slabnode-run -- PROGRAM", "any program, on this machine's nodes"),
            ("build/tools/hotplugctl status", "its nodes; 'hotplugctl help' has more"),
            ("build/tools/hotplugctl storm", "random transitions, by a seed"),
            ("tools/check quick", "the tests, two minutes")):
        screen.show("    %s  %s" % (screen.styled("%-36s" % command, "cyan"), text))


def interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def clean(demo):
    """Ends everything; what went wrong is told while the run directory still stands."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server_process = demo.machine.server
    if server_process and server_process.poll() is not None:
        demo.failures.append("redis-server ended by itself: " + demo.machine.log_end())
    demo.end_load()
    demo.complain()
    demo.machine.clean_up()


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    demo = Demo(server.Machine(os.path.abspath(sys.argv[1])))
    try:
        demo.tell()
    except KeyboardInterrupt:
        screen.show()
        screen.say("Interrupted; everything that was started is being ended.")
        return 130
    except (server.Failure, resp.ServerError, OSError) as error:
        demo.failures.append(str(error))
    finally:
        clean(demo)
    if demo.failures or demo.counters.failed or demo.counters.wrong:
        return 1
    next_steps()
    return 0


if __name__ == "__main__":
    sys.exit(main())
