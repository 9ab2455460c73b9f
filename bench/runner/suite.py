# SPDX-License-Identifier: MIT
"""The tests: the workloads at each thread count, and the real programs found here."""
import os
import random
import shutil

from runner import servers
from runner.measure import Failure

QUICK_SCALE = 0.3
SEARCH = "/usr/bin:/bin:/usr/sbin:/usr/local/bin"
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


class Test:
    """One row of the tables."""

    def __init__(self, name, text, command, kind="program"):
        self.name = name
        self.text = text
        self.command = command
        self.kind = kind
        self.variables = {}
        self.count = 1          # how often the command runs for one figure
        self.folder = None
        self.load = None        # a server's load
        self.own_figures = False
        self.links_allocator = False

    def run(self, contender, tools, warm):
        if self.load:
            return servers.run(self, contender, tools, warm)
        return tools.run(self, contender, warm)


def which(name):
    return shutil.which(name, path=SEARCH)


def workloads(tools, threads, scale):
    cost, listing, messages = tools.launch([tools.workloads, "list"])
    if cost["status"]:
        raise Failure("slabnode-bench list failed: %s" % messages)
    for line in listing.splitlines():
        name, least, most, text = line.split("\t")
        least, most = int(least), int(most)
        fixed = most == 1
        for count in [1] if fixed else threads:
            if count < least or (most and count > most):
                continue
            test = Test(name if fixed else "%s-t%d" % (name, count), text,
                        [tools.workloads, name, "-t", str(count), "-s", str(scale)], "workload")
            test.own_figures = True
            yield test


def write_lines(path, lines):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(lines)


def sort_input(folder, scale):
    draw = random.Random(1)
    path = os.path.join(folder, "sort.txt")
    write_lines(path, ("%x %s\n" % (draw.getrandbits(48), "y" * draw.randrange(60))
                       for _ in range(int(900000 * scale))))
    return path


def c_source(folder, scale):
    """A C file of many functions, each with some control flow for the optimiser."""
    path = os.path.join(folder, "many.c")
    write_lines(path, (
        "struct s%d { int a, b[%d]; struct s%d *next; };\n"
        "int f%d(struct s%d *p, int n)\n{\n\tint sum = %d;\n"
        "\tfor (int i = 0; i < n; i++) {\n\t\tswitch ((p->b[i %% %d] + i) %% 5) {\n"
        "\t\tcase 0: sum += p->a; break;\n\t\tcase 1: sum ^= p->b[0] << 3; break;\n"
        "\t\tcase 2: if (p->next) sum += f%d(p->next, i); break;\n"
        "\t\tdefault: sum -= i * p->a;\n\t\t}\n\t}\n\treturn sum;\n}\n"
        % (i, i % 9 + 2, i, i, i, i, i % 9 + 2, i) for i in range(int(130 * scale) + 1)))
    return path


def spawn(quick):
    if which("true"):
        test = Test("spawn-true", "many small processes: true, started again and again",
                    [which("true")])
        test.count = 100 if quick else 300
        yield test


def scripts(quick):
    rounds = 1 if quick else 3
    if which("python3"):
        test = Test("python3", "records, dictionaries and JSON, PYTHONMALLOC=malloc",
                    [which("python3"), "-S", os.path.join(PROGRAMS, "python.py"), str(rounds)])
        test.variables = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1",
                          "PYTHONDONTWRITEBYTECODE": "1"}
        yield test
    if which("perl"):
        test = Test("perl", "hashes of arrays and many strings",
                    [which("perl"), os.path.join(PROGRAMS, "perl.pl"), str(2 * rounds)])
        test.variables = {"PERL_HASH_SEED": "0"}
        yield test
    if which("sqlite3"):
        yield Test("sqlite3", "a database in memory filled, indexed, joined and changed",
                   [which("sqlite3"), "-batch", "-bail", ":memory:",
                    ".read " + os.path.join(PROGRAMS, "sqlite.sql")])


def tools_of_the_trade(folder, scale):
    if which("gcc"):
        yield Test("gcc", "a generated C file compiled with -O2",
                   [which("gcc"), "-O2", "-c", c_source(folder, scale), "-o", "many.o"])
    if which("g++"):
        yield Test("g++", "a C++ file full of templates compiled",
                   [which("g++"), "-std=c++17", "-O0", "-fsyntax-only" if scale < 1 else "-c",
                    os.path.join(PROGRAMS, "cxx.cc")] + ([] if scale < 1 else ["-o", "cxx.o"]))
    if which("sort"):
        yield Test("sort", "lines of text sorted, two threads",
                   [which("sort"), "--parallel=2", sort_input(folder, scale), "-o", "sorted.txt"])


def server_tests(scale):
    if which("redis-server") and which("redis-benchmark"):
        test = Test("redis", "redis-server under redis-benchmark (which has its own malloc)",
                    [which("redis-server"), "--port", "0", "--unixsocket", "@SOCKET@",
                     "--save", "", "--appendonly", "no", "--daemonize", "no"])
        test.load = servers.redis_load(which("redis-benchmark"), int(50000 * scale))
        # Debian's is linked with jemalloc, so that glibc has to be preloaded as well.
        test.links_allocator = True
        yield test
    if which("memcached"):
        test = Test("memcached", "memcached, entries set and read over a Unix socket",
                    [which("memcached"), "-u", "root", "-m", "64", "-s", "@SOCKET@"])
        test.load = servers.memcached_load(int(30000 * scale), 8)
        yield test


def programs(folder, quick):
    scale = QUICK_SCALE if quick else 1.0
    found = [*spawn(quick), *scripts(quick), *tools_of_the_trade(folder, scale),
             *server_tests(scale)]
    for test in found:
        test.folder = folder
    return found


def build(tools, folder, threads, quick):
    scale = QUICK_SCALE if quick else 1.0
    return [*workloads(tools, threads, scale), *programs(folder, quick)]
