"""A generated C and C++ project, compiled alone and under the library: the same objects."""

import hashlib
import os
import tempfile

from subject import compare, fail, need, run

MAKEFILE = """
OBJS := $(patsubst %.c,%.o,$(wildcard *.c)) $(patsubst %.cc,%.o,$(wildcard *.cc))
prog: $(OBJS)
\t$(CXX) -o $@ $(sort $(OBJS))
%.o: %.c all.h
\t$(CC) -O2 -g -Wall -ffile-prefix-map=$(CURDIR)=. -c -o $@ $<
%.o: %.cc
\t$(CXX) -O1 -g -std=c++17 -ffile-prefix-map=$(CURDIR)=. -c -o $@ $<
"""

UNIT_CC = """
#include <algorithm>
#include <map>
#include <regex>
#include <string>
#include <vector>
extern "C" long cxx_part%(n)d(long x)
{
	std::map<std::string, std::vector<long>> m;
	for (long i = 0; i < 50; i++)
		m[std::to_string((i * x) %% %(m)d)].push_back(i);
	long sum = 0;
	for (auto &kv : m) {
		std::sort(kv.second.rbegin(), kv.second.rend());
		if (std::regex_search(kv.first, std::regex("[1-5]+")))
			sum += kv.second.front();
	}
	return sum;
}
"""


def unit_c(n):
    lines = ['#include "all.h"', "#include <stdio.h>", "#include <string.h>",
             f"static const int table{n}[] = {{" + ", ".join(str(i * n % 251) for i in range(400))
             + "};"]
    for f in range(40):
        lines.append(f"""static long step{f}(long x, struct item *p)
{{
	for (int i = 0; i < {f + 3}; i++) {{
		x = x * {2 * f + 1} + table{n}[(x + i) & 255];
		if (x & {f + 1})
			p->value[i & 7] ^= x >> {f % 13};
		else
			switch (x % 5) {{
			case 0: x += p->value[1]; break;
			case 1: x -= (long)strlen(p->name); break;
			default: x ^= {f}; break;
			}}
	}}
	return x;
}}""")
    calls = "\n".join(f"\tx = step{f}(x, p);" for f in range(40))
    lines.append(f"long part{n}(long x, struct item *p)\n{{\n{calls}\n\treturn x;\n}}")
    return "\n".join(lines) + "\n"


def generate(folder, units, cxx):
    def write(name, text):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    write("Makefile", MAKEFILE)
    write("all.h", "struct item { long value[8]; char name[32]; };\n"
          + "".join(f"long part{n}(long x, struct item *p);\n" for n in range(units))
          + "".join(f"long cxx_part{n}(long x);\n" for n in range(cxx)))
    for n in range(units):
        write(f"unit{n}.c", unit_c(n))
    for n in range(cxx):
        write(f"unit{n}xx.cc", UNIT_CC % {"n": n, "m": n + 7})
    calls = "".join(f"\tx += part{n}(x, &it);\n" for n in range(units)) \
        + "".join(f"\tx += cxx_part{n}(x & 1023);\n" for n in range(cxx))
    write("main.c", '#include "all.h"\n#include <stdio.h>\nint main(void)\n{\n'
          '\tstruct item it = {{1, 2, 3, 4, 5, 6, 7, 8}, "name"};\n\tlong x = 1;\n'
          + calls + '\tprintf("%ld\\n", x);\n\treturn 0;\n}\n')


def digests(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".o") or name == "prog":
            with open(os.path.join(folder, name), "rb") as f:
                out[name] = hashlib.sha256(f.read()).hexdigest()
    return out


def build(cc, cxx, units, cxx_units):
    need("make", cc, cxx)
    results = []
    with tempfile.TemporaryDirectory() as top:
        # The same path both times: it is in the objects.
        folder = os.path.join(top, "project")
        for under in (False, True):
            os.mkdir(folder)
            generate(folder, units, cxx_units)
            run(["make", "-j2", f"CC={cc}", f"CXX={cxx}", "prog"], under, cwd=folder, timeout=500)
            out = run([os.path.join(folder, "prog")], under, cwd=folder).stdout
            results.append((digests(folder), out))
            os.rename(folder, folder + f"-{under}")
    if len(results[0][0]) != units + cxx_units + 2:
        fail(f"objects: {sorted(results[0][0])}")
    compare("the objects", *[repr(r[0]) for r in results])
    compare("the program's output", results[0][1], results[1][1])


def gcc():
    build("gcc", "g++", 10, 2)


def clang():
    build("clang", "clang++", 10, 2)


CASES = {"gcc": gcc, "clang": clang}
