"""Guests: which nodes there are, with which CPUs and how much memory.

A shape is a list of nodes, in the order of their numbers. The kernel numbers nodes as the firmware
names them, those with CPUs first; so memory-only nodes stand behind the others.
"""

import collections
import re

Node = collections.namedtuple("Node", "cpus mib", defaults=(0, 0))


class Shape:
    """What QEMU is told. `distances` has the columns of numactl -H; 10 and 20 where it is None.

    With `slots` memory can be plugged in later, as a part of the last node; `options` are words of
    the kernel's command line."""

    def __init__(self, about, nodes, distances=None, slots=0, options=""):
        self.about = about
        self.nodes = nodes
        self.distances = distances
        self.slots = slots
        self.options = options

    @property
    def cpus(self):
        return sum(n.cpus for n in self.nodes)

    @property
    def mib(self):
        return sum(n.mib for n in self.nodes)

    def arguments(self):
        memory = f"{self.mib}M" + (f",slots={self.slots},maxmem=4G" if self.slots else "")
        out = ["-m", memory, "-smp", f"{self.cpus},sockets={self.cpus},cores=1,threads=1"]
        first = 0
        for i, node in enumerate(self.nodes):
            text = f"node,nodeid={i}"
            if node.mib:
                out += ["-object", f"memory-backend-ram,id=node{i},size={node.mib}M"]
                text += f",memdev=node{i}"
            out += ["-numa", text]
            for cpu in range(first, first + node.cpus):
                out += ["-numa", f"cpu,node-id={i},socket-id={cpu}"]
            first += node.cpus
        for i, row in enumerate(self.distances or []):
            for j, value in enumerate(row):
                if i != j:
                    out += ["-numa", f"dist,src={i},dst={j},val={value}"]
        return out


def parse(text):
    """A shape by its name, or of nodes written as CPUSxMIB, separated by commas: 2x512,1x256,0x256.

    A last node 0x0 has slots for modules. None when the text is neither."""
    if text in SHAPES:
        return SHAPES[text]
    if not re.fullmatch(r"\d+x\d+(,\d+x\d+)*", text):
        return None
    nodes = [Node(*map(int, word.split("x"))) for word in text.split(",")]
    return Shape(text, nodes, slots=0 if any(nodes[-1]) else 4)


SHAPES = {
    "two-nodes": Shape("two nodes with a CPU and 320 MiB each", [Node(1, 320), Node(1, 320)]),
    "four-nodes": Shape(
        "four nodes in two pairs, a CPU each", [Node(1, 192)] * 4,
        distances=[[10, 15, 25, 30], [15, 10, 30, 25], [25, 30, 10, 15], [30, 25, 15, 10]]),
    "memory-only": Shape(
        "a node with two CPUs, one with memory only, farther away, and one with a CPU and no memory",
        [Node(2, 320), Node(1, 0), Node(0, 256)],
        distances=[[10, 20, 30], [20, 10, 35], [30, 35, 10]]),
    # Node 1 has nothing but a CPU that the kernel is told to leave alone, so there is no node 1. (To
    # take a CPU out of a running guest would do as well, but QEMU 7.2 loses interrupts afterwards.)
    "holes": Shape(
        "nodes 0 and 2, with a CPU each, and no node 1",
        [Node(1, 320), Node(1, 0), Node(1, 320)], options="disable_cpu_apicid=1"),
    "hotplug": Shape(
        "two nodes with a CPU each, and slots for memory of a third, which is not there yet",
        [Node(1, 320), Node(1, 256), Node()], slots=4),
}
