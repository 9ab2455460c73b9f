# SPDX-License-Identifier: MIT
"""The parts of bench/hotplug/run: each measures, and makes tables of what it measured.

Measuring gives what is kept as JSON.  The tables are made of that alone, so that bench/report
shows what the run showed.
"""
import collections
import glob

Table = collections.namedtuple("Table", "title note head rows")


def topology(simulated):
    """Settings of slabnode for a benchmark that needs several nodes: those of the machine, where it
    has some, or else simulated ones."""
    found = 0
    for path in glob.glob("/sys/devices/system/node/node[0-9]*/cpulist"):
        with open(path, encoding="ascii") as file:
            found += bool(file.read().strip())
    return {} if found > 1 else {"SLABNODE_TOPOLOGY": simulated}
