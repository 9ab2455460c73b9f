"""A process that looks like a program under the library, without the library.

It maps a file called libslabnode.so, listens on RUNDIR/PID.sock and answers requests from a small
model of nodes, so that the tests of hotplugctl can see every kind of answer, also those that a
healthy process never gives. Usage: mock_server.py LIBRARY_FILE RUNDIR [key=value...]

  log=FILE         every request line is written there
  mode=MODE        normal; silent (no hello); hangup (closes after the request); garbage; deny; crowded
                   (an error in place of the hello); nosocket (maps the library, listens nowhere);
                   rundirless (the socket is elsewhere than the environment says)
  nodes=N          how many nodes (4)
  busy=N,...       nodes with live memory: strict answers EBUSY, wait lasts until its timeout
  hold=migrate     every offline by migrate lasts until its timeout, too
  refusals=K       the first K offlines are answered with EBUSY
  barred=N,...     nodes that its cpuset forbids
  command=NAME     what the hello says
  caches=N         how many caches (1)
  stall=MS         the longest stall of an offline (0.25)

It prints "ready" when it can be found.
"""

import json
import mmap
import os
import select
import socket
import sys
import threading
import time


class Model:
    """The nodes; every state change happens under the lock."""

    def __init__(self, options):
        self.count = int(options.get("nodes", "4"))
        self.state = {n: "online" for n in range(self.count)}
        self.cordoned = set()
        self.busy = {int(n) for n in options.get("busy", "").split(",") if n}
        self.hold = options.get("hold")
        self.barred = {int(n) for n in options.get("barred", "").split(",") if n}
        self.refusals = int(options.get("refusals", "0"))
        self.cancelled = set()
        self.events = []
        self.changed = threading.Condition()

    def change(self, node, state, cause):
        with self.changed:
            before = self.state[node]
            self.state[node] = state
            self.events.append({"seq": len(self.events) + 1, "time": time.time(), "node": node,
                                "from": before, "to": state, "action": "MEM_TEST", "cause": cause})
            self.changed.notify_all()


def error(name, message, **more):
    return {"ok": False, "error": name, "message": message, **more}


HOLDERS = [{"cache": "malloc-64", "objects": 3, "slabs": 1, "bytes": 192},
           {"cache": "large", "objects": 1, "slabs": 0, "bytes": 4194304}]


class Client(threading.Thread):
    def __init__(self, connection, model, options):
        super().__init__(daemon=True)
        self.connection = connection
        self.model = model
        self.options = options

    def send(self, reply):
        self.connection.sendall(json.dumps(reply).encode() + b"\n")

    def run(self):
        try:
            self.serve()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.connection.close()

    def serve(self):
        mode = self.options.get("mode", "normal")
        if mode == "silent":
            time.sleep(60)
            return
        if mode == "deny":
            self.send(error("EPERM", "not your process"))
            return
        if mode == "crowded":
            self.send(error("EAGAIN", "too many clients"))
            return
        if mode == "garbage":
            self.connection.sendall(b"\x00\xffnot json\n")
            return
        self.send({"slabnode": 1, "version": "0.0-mock", "pid": os.getpid(),
                   "command": self.options.get("command", "mock")})
        for line in self.connection.makefile():
            if "log" in self.options:
                with open(self.options["log"], "a", encoding="utf-8") as log:
                    log.write(line)
            if mode == "hangup":
                return
            words = line.split()
            values = dict(w.split("=", 1) for w in words[1:] if "=" in w)
            plain = [w for w in words[1:] if "=" not in w]
            handler = getattr(self, "do_" + words[0].replace("-", "_"), None)
            if handler is None:
                self.send(error("EINVAL", f"unknown command {words[0]}"))
            else:
                handler(plain, values)

    def row(self, node):
        return {"node": node, "state": self.model.state[node],
                "cordoned": node in self.model.cordoned, "cpus": f"{4 * node}-{4 * node + 3}",
                "capacity_bytes": 536870912, "live_bytes": 123456789 * node,
                "cached_bytes": 654321, "slabs": 12345, "large_bytes": 0, "resident_bytes": 777,
                "elsewhere_bytes": 0, "other_bytes": 0, "numa_hit": 900, "numa_miss": 100,
                "numa_foreign": 0, "fallback": [n for n in range(self.model.count) if n != node],
                "transition": {"action": "offline", "policy": "wait", "phase": "waiting",
                               "elapsed_ms": 1200}
                if self.model.state[node] == "going-offline" else None}

    def do_list_self(self, _plain, _values):
        online = sum(s == "online" for s in self.model.state.values())
        self.send({"ok": True, "pid": os.getpid(), "command": self.options.get("command", "mock"),
                   "nodes_online": online, "nodes": self.model.count, "live_bytes": 1536,
                   "cached_bytes": 0})

    def do_status(self, _plain, _values):
        self.send({"ok": True, "pid": os.getpid(), "topology": "synthetic", "fast_path": "rseq",
                   "fast_path_reason": "the kernel has it", "placement": "simulated",
                   "placement_reason": "", "new_field": {"kept": True},
                   "nodes": [self.row(n) for n in range(self.model.count)]})

    def do_topology(self, _plain, _values):
        nodes = [{"node": n, "cpus": f"{4 * n}-{4 * n + 3}", "size_bytes": 536870912,
                  "free_bytes": None, "state": self.model.state[n],
                  "allowed": n not in self.model.barred,
                  "distances": [10 if n == m else 20 for m in range(self.model.count)],
                  "fallback": [m for m in range(self.model.count) if m != n]}
                 for n in range(self.model.count)]
        self.send({"ok": True, "source": "synthetic", "simulated": True, "nodes": nodes})

    def do_slabinfo(self, plain, _values):
        nodes = [int(p) for p in plain] or range(self.model.count)
        caches = [{"cache": f"malloc-{64 * c}", "node": n, "object_size": 64 * c,
                   "active_objects": 10 * n, "total_objects": 128 * n // c, "objects_per_slab": 64,
                   "slabs_full": 0, "slabs_partial": n, "slabs_free": 0, "cpu_arrays": 0,
                   "shared": 0, "alien": 0}
                  for c in range(1, 1 + int(self.options.get("caches", "1"))) for n in nodes]
        self.send({"ok": True, "caches": caches})

    def do_why(self, plain, _values):
        self.send({"ok": True, "node": int(plain[0]), "state": "online", "holders": HOLDERS,
                   "transition": None,
                   "sampling": {"mean_bytes": 524288, "dropped": 7, "more_sites": 2},
                   "sites": [{"objects": 20, "bytes": 3072, "frames": ["0x11", "0x1000"]},
                             {"objects": 1, "bytes": 100, "frames": []}]})

    def do_plan(self, plain, _values):
        self.send({"ok": True, "node": int(plain[0]), "feasible": False, "cached_bytes": 4096,
                   "live_bytes": 8192, "metadata_bytes": 0, "to_move_bytes": 8192,
                   "released_bytes": 4096, "evict_bytes": 0, "evict_objects": 0, "targets": [{"node": 0, "free_bytes": None}],
                   "obstacles": ["node 0 is full"], "holders": HOLDERS})

    def do_options(self, _plain, _values):
        self.send({"ok": True, "options": [
            {"name": "SLABNODE_STATS", "type": "text", "default": "", "value": "exit",
             "help": "tables at exit"},
            {"name": "SLABNODE_RUNDIR", "type": "text", "default": "", "value": "/run/slabnode",
             "help": "where control sockets live, in a directory of the user's own; below "
                     "XDG_RUNTIME_DIR unless it is set"}]})

    def do_version(self, _plain, _values):
        self.send({"ok": True, "version": "0.0-mock"})

    def do_drain(self, _plain, _values):
        self.send({"ok": True, "drained_objects": 5, "released_bytes": 65536})

    def do_fault(self, plain, values):
        words = plain + [f"{k}={v}" for k, v in values.items()]
        if plain == ["list"]:
            words = [f"step-{n}=EBUSY" for n in range(30)]
        if "nonsense" in values:
            self.send(error("EINVAL", 'fault: unknown step "nonsense"'))
            return
        self.send({"ok": True, "note": "armed " + " ".join(words)})

    def do_cordon(self, plain, _values):
        self.model.cordoned.add(int(plain[0]))
        self.send({"ok": True, "node": int(plain[0]), "state": "online", "cordoned": True})

    def do_uncordon(self, plain, _values):
        self.model.cordoned.discard(int(plain[0]))
        self.send({"ok": True, "node": int(plain[0]), "state": "online", "cordoned": False})

    def do_cancel(self, plain, _values):
        node = int(plain[0])
        with self.model.changed:
            going = self.model.state.get(node) == "going-offline"
            if going:
                self.model.cancelled.add(node)
                self.model.changed.notify_all()
                self.model.changed.wait_for(lambda: self.model.state[node] == "online", 5)
        note = {} if going else {"note": "nothing was under way"}
        self.send({"ok": True, "node": node, "state": self.model.state.get(node), **note})

    def do_events(self, _plain, values):
        at = int(values.get("since", "0"))
        while True:
            with self.model.changed:
                new = [e for e in self.model.events if e["seq"] > at]
            for event in new:
                at = event["seq"]
                self.send(event)
            if "follow" not in values:
                self.send({"ok": True, "end": True})
                return
            with self.model.changed:
                self.model.changed.wait(0.05)

    def hung_up(self):
        try:
            return bool(select.select([self.connection], [], [], 0)[0] and
                        not self.connection.recv(1, socket.MSG_PEEK))
        except ConnectionResetError:  # it left what was sent last unread
            return True

    def moved(self):
        return {"migrated_bytes": int(self.options.get("moved", "4096")),
                "guest_bytes": int(self.options.get("guests", "0"))}

    def vacate(self, node, values):
        """Waits on a busy node as the policy says; the failure, or None."""
        limit = time.monotonic() + float(values.get("timeout", "1e9"))
        policy = values.get("policy", "migrate")
        if self.model.refusals:
            self.model.refusals -= 1
            return error("EBUSY", "pinned pages would not move")
        if policy != self.model.hold and (node not in self.model.busy or policy == "migrate"):
            return None
        if policy == "strict":
            return error("EBUSY", "live memory remains", holders=HOLDERS, **self.moved())
        done = 0
        while True:
            done += 1
            try:
                self.send({"progress": {"phase": "waiting", "done": done, "total": 1000,
                                        "node": node}})
            except (BrokenPipeError, ConnectionResetError):
                if "detach" not in values:
                    return error("ECANCELED", "the client hung up")
            with self.model.changed:
                if self.model.changed.wait_for(lambda: node in self.model.cancelled, 0.02):
                    self.model.cancelled.discard(node)
                    return error("ECANCELED", "cancelled")
            if time.monotonic() > limit:
                return error("ETIMEDOUT", "live memory remains", holders=HOLDERS)
            if "detach" not in values and self.hung_up():
                return error("ECANCELED", "the client hung up")

    def offline(self, node, values):
        if node not in self.model.state:
            return error("ENODEV", f"there is no node {node}", node=node)
        if values.get("to") == str(node):
            return error("EINVAL", "no usable node among the targets", node=node, state="online")
        if self.model.state[node] == "offline":
            return {"ok": True, "node": node, "state": "offline", "already": True,
                    "note": "was offline already"}
        if node in self.model.barred:
            return error("EINVAL", f"node {node} is not allowed to this process", node=node)
        if sum(s == "online" for s in self.model.state.values()) == 1:
            return error("EBUSY", "it is the last usable node", node=node, state="online")
        self.model.change(node, "going-offline", "request")
        failure = self.vacate(node, values)
        if failure:
            self.model.change(node, "online", "cancel")
            return {**failure, "node": node, "state": "online"}
        self.model.change(node, "offline", "request")
        whole = {"whole_process": {"ok": True, "moved_bytes": 8192, "stayed_bytes": 4096}} \
            if "whole-process" in values else {}
        return {"ok": True, "node": node, "state": "offline", "already": False,
                "policy": values.get("policy", "migrate"), "drained_objects": 7,
                "released_bytes": 65536, "evicted_objects": 0, **self.moved(),
                "unmovable": [], "elapsed_ms": 1.5, "max_stall_ms": float(self.options.get("stall", "0.25")),
                "other_bytes": int(self.options.get("other", "0")), **whole}

    def online(self, node, _values):
        if node not in self.model.state:
            return error("ENODEV", f"there is no node {node}", node=node)
        if self.model.state[node] != "offline":
            return {"ok": True, "node": node, "state": self.model.state[node],
                    "note": "was online already"}
        self.model.change(node, "online", "request")
        return {"ok": True, "node": node, "state": "online", "elapsed_ms": 0.5}

    def each(self, plain, values, action):
        results = [action(int(n), values) for n in plain]
        if len(results) == 1:
            self.send(results[0])
        else:
            self.send({"ok": all(r["ok"] for r in results), "results": results})

    def do_offline(self, plain, values):
        self.each(plain, values, self.offline)

    def do_online(self, plain, values):
        self.each(plain, values, self.online)


def main():
    library, rundir = sys.argv[1:3]
    options = dict(word.split("=", 1) for word in sys.argv[3:])
    with open(library, "rb") as file:
        _mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if options.get("mode") == "nosocket":
        print("ready", flush=True)
        time.sleep(600)
    os.makedirs(rundir, mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = os.path.join(rundir, f"{os.getpid()}.sock")
    listener.bind(path)
    listener.listen(64)
    model = Model(options)
    if options.get("mode") == "rundirless":
        # Under the name by which the real library's control thread is known.
        with open("/proc/self/comm", "w", encoding="ascii") as name:
            name.write("slabnode-ctl")
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        Client(connection, model, options).start()


main()
