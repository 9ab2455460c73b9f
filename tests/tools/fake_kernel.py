"""A kernel with memory nodes that the test makes up: a directory like /sys, and what happens when the
state of a memory block is written (fake_kernel.c passes that on).

    kernel = FakeKernel(directory, {0: 4, 1: 4})      # nodes and their blocks, of 128 MiB
    kernel.refuse[7] = [errno.EBUSY]                  # what its next writes fail with
    kernel.slow[6] = 5                                # seconds that it is going offline
    kernel.set(7, "going-offline")                    # the kernel by itself; sends an event
"""

import contextlib
import errno
import os
import pathlib
import select
import socket
import subprocess
import threading

HERE = pathlib.Path(__file__).resolve().parent
BLOCK = 128 << 20


class FakeKernel:
    def __init__(self, directory, nodes):
        self.root = pathlib.Path(directory).resolve() / "sys"
        self.system = self.root / "devices" / "system"
        self.refuse = {}
        self.slow = {}
        self.log = []
        self.node_of = {}
        for name in ("memory", "node"):
            (self.system / name).mkdir(parents=True)
        (self.system / "memory" / "block_size_bytes").write_text(f"{BLOCK:x}\n")
        for node, blocks in nodes.items():
            self.add_node(node, blocks)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.root / "kernel"))
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    # --- the tree ---

    def path(self, block, name="state"):
        return self.system / "memory" / f"memory{block}" / name

    def add_node(self, node, blocks, state="online"):
        first = len(self.node_of)
        (self.system / "node" / f"node{node}").mkdir(exist_ok=True)
        for block in range(first, first + blocks):
            self.path(block).parent.mkdir()
            self.path(block).write_text(state + "\n")
            self.path(block, "removable").write_text("1\n")
            self.path(block, "valid_zones").write_text("Movable\n")
            (self.system / "node" / f"node{node}" / f"memory{block}").symlink_to(
                self.path(block).parent)
            self.node_of[block] = node
            self.uevent(f"add@/devices/system/memory/memory{block}")

    def remove_node(self, node):
        for block in self.blocks(node):
            (self.system / "node" / f"node{node}" / f"memory{block}").unlink()
            self.uevent(f"remove@/devices/system/memory/memory{block}")
        (self.system / "node" / f"node{node}").rmdir()

    def blocks(self, node):
        return [b for b, n in self.node_of.items() if n == node]

    def state(self, block):
        return self.path(block).read_text().strip()

    def states(self, node):
        return [self.state(b) for b in self.blocks(node)]

    def set(self, block, state):
        fresh = self.path(block, "state.new")
        fresh.write_text(state + "\n")
        fresh.rename(self.path(block))
        if state != "going-offline":  # of which the kernel tells nobody
            self.uevent(f"{state}@/devices/system/memory/memory{block}")

    def set_node(self, node, state):
        for block in self.blocks(node):
            self.set(block, state)

    # --- events ---

    def uevent(self, head):
        """As the kernel's: the heading, then NAME=VALUE, all ended by NUL."""
        action, path = head.split("@")
        words = [head, f"ACTION={action}", f"DEVPATH={path}", "SUBSYSTEM=memory"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            try:
                out.sendto(b"\0".join(w.encode() for w in words) + b"\0",
                           str(self.root / "uevent"))
            except (FileNotFoundError, ConnectionRefusedError):
                pass

    # --- writes ---

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client):
        with client, client.makefile() as lines:
            path, word = lines.readline().split()
            block = int(os.path.basename(os.path.dirname(path))[len("memory"):])
            self.log.append((block, word))
            result = self.write(client, block, word)
            with contextlib.suppress(BrokenPipeError):
                client.sendall(str(result).encode())

    def write(self, client, block, word):
        target = "offline" if word == "offline" else "online"
        before = self.state(block)
        if before == target:
            return errno.EINVAL
        if target == "offline":
            self.set(block, "going-offline")
            if block in self.slow and select.select([client], [], [], self.slow[block])[0]:
                self.set(block, before)  # the writer went away
                return errno.EINTR
        if self.refuse.get(block):
            self.set(block, before)
            return self.refuse[block].pop(0)
        self.set(block, target)
        return 0


def build_shim(directory):
    """fake_kernel.c as a library."""
    library = pathlib.Path(directory) / "fake_kernel.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "fake_kernel.c"], check=True)
    return library
