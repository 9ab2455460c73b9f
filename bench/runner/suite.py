# SPDX-License-Identifier: MIT
"""The tests: the workloads at each thread count, and the real programs.

A program that is not installed makes a test that is skipped, with the reason.
"""
import os
import random
import shutil

from runner import servers
from runner.measure import Failure

QUICK_SCALE = 0.3
SEARCH = "/usr/bin:/bin:/usr/sbin:/usr/local/bin"
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


# Debian packages of programs that are called otherwise.
PACKAGES = {"redis-server": "redis-server", "redis-benchmark": "redis-tools",
            "redis-cli": "redis-tools", "gs": "ghostscript", "nginx": "nginx-light",
            "true": "coreutils", "sort": "coreutils"}


class Test:
    """One row of the tables."""

    def __init__(self, name, text, command, kind="program"):
        self.name = name
        self.text = text
        self.command = command
        self.kind = kind
        self.skip = None        # why it cannot run here
        self.variables = {}
        self.count = 1          # how often the command runs for one figure
        self.folder = None
        self.prepare = None     # a server's files, made in its folder
        self.load = None        # a server's load
        self.forget = None      # has a server drop what the load stored
        self.own_figures = False
        self.steady = True      # resident memory of the process itself tells something
        self.links_allocator = False

    def run(self, contender, tools, warm):
        if self.load:
            return servers.run(self, contender, tools, warm)
        return tools.run(self, contender, warm)


def which(name):
    return shutil.which(name, path=SEARCH)


def program(name, text, command, needs=(), **settings):
    """A test of a real program, skipped when it or another one that it needs is not here."""
    test = Test(name, text, [which(command[0]) or command[0], *command[1:]])
    for word in (command[0], *needs):
        if not which(word):
            test.skip = "%s is not installed (Debian's %s)" % (word, PACKAGES.get(word, word))
            break
    for key, value in settings.items():
        setattr(test, key, value)
    return test


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
            if name == "idle":
                # Rests for most of the time; what it holds meanwhile it tells itself.
                test.command += ["-a", ",".join(map(str, tools.pauses))] if tools.pauses else []
                test.steady = False
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


def smt_source(folder, scale):
    """For an SMT solver: graphs to colour, products to factor, arrays whose stores commute."""
    draw = random.Random(1)
    path = os.path.join(folder, "puzzles.smt2")

    def puzzle(*lines):
        return "(push)\n%s\n(check-sat)\n(pop)\n" % "\n".join(lines)

    def graph(nodes=40, colours=4):
        edges = [draw.sample(range(nodes), 2) for _ in range(4 * nodes)]
        return puzzle(*("(declare-fun g%d () Int)(assert (<= 1 g%d %d))" % (i, i, colours)
                        for i in range(nodes)),
                      *("(assert (not (= g%d g%d)))" % tuple(edge) for edge in edges))

    def product():
        number = draw.choice((4073, 4079, 4091, 4093)) * draw.choice((3943, 3947, 3967, 3989))
        return puzzle("(declare-fun a () (_ BitVec 26))(declare-fun b () (_ BitVec 26))",
                      "(assert (= (bvmul a b) (_ bv%d 26)))" % number,
                      "(assert (bvult (_ bv1 26) b))(assert (bvule b a))",
                      "(assert (bvult a (_ bv4096 26)))")

    def array(stores=8):
        shuffled = draw.sample(range(stores), stores)

        def term(order):
            text = "m"
            for i in order:
                text = "(store %s i%d %d)" % (text, i, i)
            return text
        return puzzle("(declare-fun m () (Array Int Int))",
                      *("(declare-fun i%d () Int)" % i for i in range(stores)),
                      "(assert (distinct %s))" % " ".join("i%d" % i for i in range(stores)),
                      "(assert (not (= %s %s)))" % (term(range(stores)), term(shuffled)))

    write_lines(path, ["(set-logic ALL)\n"] +
                [make() for make, count in ((graph, 10), (product, 6), (array, 8))
                 for _ in range(int(count * scale) + 1)])
    return path


def spawn(quick):
    yield program("spawn-true", "many small processes: true, started again and again", ["true"],
                  count=100 if quick else 300, steady=False)


def scripts(quick):
    rounds = 1 if quick else 3
    yield program("python3", "records, dictionaries and JSON, PYTHONMALLOC=malloc",
                  ["python3", "-S", os.path.join(PROGRAMS, "python.py"), str(rounds)],
                  variables={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1",
                             "PYTHONDONTWRITEBYTECODE": "1"})
    yield program("perl", "hashes of arrays and many strings",
                  ["perl", os.path.join(PROGRAMS, "perl.pl"), str(2 * rounds)],
                  variables={"PERL_HASH_SEED": "0"})
    yield program("lua5.4", "records, closures, coroutines and strings",
                  ["lua5.4", os.path.join(PROGRAMS, "lua.lua"), str(3 * rounds)])
    yield program("sqlite3", "a database in memory filled, indexed, joined and changed",
                  ["sqlite3", "-batch", "-bail", ":memory:",
                   ".read " + os.path.join(PROGRAMS, "sqlite.sql")])


def tools_of_the_trade(folder, scale):
    # What gcc and g++ start is where the memory goes, not they themselves.
    yield program("gcc", "a generated C file compiled with -O2",
                  ["gcc", "-O2", "-c", c_source(folder, scale), "-o", "many.o"], steady=False)
    yield program("g++", "a C++ file full of templates compiled",
                  ["g++", "-std=c++17", "-O0", "-fsyntax-only" if scale < 1 else "-c",
                   os.path.join(PROGRAMS, "cxx.cc")] + ([] if scale < 1 else ["-o", "cxx.o"]),
                  steady=False)
    yield program("sort", "lines of text sorted, two threads",
                  ["sort", "--parallel=2", sort_input(folder, scale), "-o", "sorted.txt"])
    yield program("gs", "Ghostscript: pages of text, curves and shadings made into a PDF",
                  ["gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite",
                   "-dPAGES=%d" % (250 * scale), "-sOutputFile=pages.pdf",
                   os.path.join(PROGRAMS, "pages.ps")])
    yield program("z3", "colourings, factors and arrays in an SMT solver",
                  ["z3", smt_source(folder, scale)])
    yield program("stress-ng", "its malloc stressor, two processes",
                  ["stress-ng", "--quiet", "--malloc", "2", "--malloc-ops",
                   str(int(800000 * scale)), "--no-rand-seed", "--temp-path", folder],
                  steady=False)


def server_tests(scale):
    # Debian's redis is linked with jemalloc, so that glibc has to be preloaded as well.
    yield program("redis", "redis-server under redis-benchmark (which has its own malloc)",
                  ["redis-server", "--port", "0", "--unixsocket", "@FOLDER@/socket",
                   "--save", "", "--appendonly", "no", "--daemonize", "no"],
                  needs=("redis-benchmark", "redis-cli"), links_allocator=True,
                  load=servers.redis_load(which("redis-benchmark"), int(120000 * scale)),
                  forget=servers.redis_forget(which("redis-cli")))
    yield program("memcached", "memcached, entries set and read over a Unix socket",
                  ["memcached", "-u", "root", "-m", "64", "-s", "@FOLDER@/socket"],
                  load=servers.memcached_load(int(30000 * scale), 20))
    yield program("nginx", "nginx: files plain, compressed, with includes, and proxied",
                  ["nginx", "-p", "@FOLDER@", "-e", "stderr", "-c", "@FOLDER@/nginx.conf"],
                  prepare=servers.nginx_prepare(os.path.join(PROGRAMS, "nginx.conf")),
                  load=servers.nginx_load(int(250 * scale)))


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
