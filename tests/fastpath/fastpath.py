#!/usr/bin/python3
"""The instruction budget of the fast paths.

    fastpath.py BUILD LIBRARY ROW | fastpath.py --list

A row named after a function disassembles the library and walks the function's straight line: from its
entry, conditional jumps not taken, unconditional ones followed, to its `ret`.  On it there must be the
begin of a restartable sequence (so that it is the fast line, and not an early way out), no call, no
jump out of the library but the one that is named, no push of a register, no atomic instruction, and at
most so many instructions, loads and stores as BUDGET says; docs/decisions.md says where the figures
come from.  A jump back is an error: there is no loop on a straight line.

`refuses` shows that the walk can fail: it assembles functions that break one rule each.  By hand: a
line `sn_malloc_beyond(0);` in sn_malloc(), before the class is looked up (core/alloc.h), made the rows
malloc and aligned_alloc fail with "a stack frame", which the call needs; free went on passing.

`locked` counts what a pair of malloc and free executes in locked mode, by callgrind: the program `pairs`
is run with few and with many pairs, and the difference is divided.  Its own loop is in the figure.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

# function: (instructions, loads, stores) by gcc; clang may use CLANG_MORE instructions more.  Sized
# and aligned forms of operator delete are budgeted as free, since they are nothing else.
FREE = (33, 13, 3)
BUDGET = {
    "malloc": (22, 9, 2),
    "free": FREE,
    "calloc": (28, 9, 2),
    "realloc": (38, 6, 0),
    "aligned_alloc": (36, 9, 2),
    "posix_memalign": (40, 9, 3),
    "_Znwm": (21, 9, 2),
    "_Znam": (21, 9, 2),
    "_ZnwmSt11align_val_t": (33, 9, 2),
    "_ZdlPv": FREE,
    "_ZdlPvm": FREE,
    "_ZdaPvm": FREE,
    "_ZdlPvmSt11align_val_t": FREE,
    "free_sized": FREE,
}
CLANG_MORE = 6
# clang keeps a frame in these: for memset() there, for the ways out here.
CLANG_FRAMES = {"calloc", "realloc"}
# Where the line ends in a jump out of the library, which is all that remains to be done.
LEAVES_BY = {"calloc": "memset"}
NO_SEQUENCE = {"realloc"}  # an object that stays where it is
LOCKED_PAIR = 150

INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(?:(?:bnd|notrack|data16|cs|ds|addr32) )*(\S+)\s*(.*)$")
PADDING = re.compile(r"^(nop|endbr)")


class Broken(Exception):
    """The line breaks a rule."""

    def __init__(self, why, line):
        super().__init__(why)
        self.line = line


def skip(reason):
    print("skip:", reason)
    sys.exit(77)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def disassemble(file):
    """Address to (mnemonic, operands), and the addresses in order."""
    code = {}
    for line in output("objdump", "-d", "--no-show-raw-insn", file).splitlines():
        match = INSTRUCTION.match(line)
        if match:
            code[int(match[1], 16)] = (match[2], match[3])
    return code, sorted(code)


def symbols(file, option):
    """Name to address of the functions."""
    found = {}
    for line in output("nm", option, "--defined-only", file).splitlines():
        address, kind, name = line.split(None, 2)
        if kind in "TtWi":
            found[name.split("@")[0]] = int(address, 16)
    return found


def memory(mnemonic, operands):
    """(loads, stores) of an instruction in AT&T syntax: the last operand is where a result goes."""
    if mnemonic.startswith(("lea", "nop", "j")) or "(" not in operands:
        return 0, 0
    parts = re.split(r",(?![^(]*\))", operands.split("#")[0].strip())
    if "(" not in parts[-1] or mnemonic.startswith(("cmp", "test")):
        return 1, 0
    if len(parts) == 1 or not mnemonic.startswith("mov"):
        return 1, 1
    return 0, 1


def walk(code, order, entry, leaves_by=None):
    """The straight line from entry: [(mnemonic, operands)]."""
    following = dict(zip(order, order[1:]))
    line, at, seen = [], entry, set()
    while True:
        if at not in code or at in seen:
            raise Broken(f"leads to {at:#x}, which is {'a loop' if at in seen else 'no code'}", line)
        seen.add(at)
        mnemonic, operands = code[at]
        if not PADDING.match(mnemonic):
            line.append((mnemonic, operands))
        if mnemonic.startswith("ret"):
            return line
        if mnemonic.startswith("call") or "__tls_get_addr" in operands:
            raise Broken(f"a call: {mnemonic} {operands}", line)
        if mnemonic.startswith(("push", "pop", "enter", "leave")) or "%rsp" in operands:
            raise Broken(f"a stack frame: {mnemonic} {operands}", line)
        if mnemonic.startswith(("lock", "xchg", "cmpxchg", "mfence", "syscall")) and \
                (mnemonic != "xchg" or "(" in operands):
            raise Broken(f"an atomic instruction: {mnemonic} {operands}", line)
        if mnemonic.startswith("jmp"):
            if leaves_by and f"<{leaves_by}@" in operands:
                return line
            if operands.startswith("*") or "@plt" in operands:
                raise Broken(f"a jump that cannot be followed: {operands}", line)
            at = int(operands.split()[0], 16)
            continue
        if mnemonic.startswith("j") and entry <= int(operands.split()[0], 16) < at:
            raise Broken(f"a jump back: {mnemonic} {operands}", line)
        at = following.get(at)


def measure(line):
    pairs = [memory(*instruction) for instruction in line]
    return len(line), sum(p[0] for p in pairs), sum(p[1] for p in pairs)


def check(line, budget, sequence):
    if sequence and not any(m.startswith("mov") and re.search(r",%fs:0x8\(", o) for m, o in line):
        raise Broken("no restartable sequence on the line", line)
    figures = measure(line)
    for what, have, most in zip(("instructions", "loads", "stores"), figures, budget):
        if have > most:
            raise Broken(f"{have} {what}, the budget is {most}", line)
    return figures


def options(build):
    with open(os.path.join(build, "meson-info", "intro-buildoptions.json"), encoding="utf-8") as file:
        return {option["name"]: option["value"] for option in json.load(file)}


def require_optimised(build):
    have = options(build)
    if os.uname().machine != "x86_64" or have["locked_only"]:
        skip("no restartable sequences in this build")
    if have["optimization"] not in ("2", "3") or have["debug_checks"] or have["b_sanitize"] not in ("none", []):
        skip("the budget is that of an optimised build without checks")


def built_by_clang(library):
    return "clang" in output("readelf", "-p", ".comment", library)


def row_function(name, build, library):
    require_optimised(build)
    most = BUDGET[name]
    if built_by_clang(library):
        if name in CLANG_FRAMES:
            skip("clang keeps a stack frame in " + name)
        most = (most[0] + CLANG_MORE, most[1] + 1, most[2])
    code, order = disassemble(library)
    try:
        line = walk(code, order, symbols(library, "-D")[name], LEAVES_BY.get(name))
        figures = check(line, most, name not in NO_SEQUENCE)
    except Broken as broken:
        print(f"{name}: {broken}")
        print("\n".join(f"    {m} {o}" for m, o in broken.line))
        return 1
    print(f"{name}: {figures[0]} instructions, {figures[1]} loads, {figures[2]} stores")
    return 0


SEQUENCE = "mov %r8,%fs:8(%rcx)\n"
# name: (assembly, what the refusal says; None: to be accepted)
SNIPPETS = {
    "good": (SEQUENCE + "mov (%rdi),%rax\ntest %rax,%rax\nje 9f\nret\n9: call elsewhere\nret", None),
    "followed": (SEQUENCE + "jmp 1f\n.skip 8\n1: mov (%rdi),%rax\nret", None),
    "calls": (SEQUENCE + "call elsewhere\nret", "a call"),
    "calls_indirectly": (SEQUENCE + "call *(%rax)\nret", "a call"),
    "pushes": (SEQUENCE + "push %rbx\npop %rbx\nret", "a stack frame"),
    "reserves": (SEQUENCE + "sub $8,%rsp\nadd $8,%rsp\nret", "a stack frame"),
    "locks": (SEQUENCE + "lock incq (%rdi)\nret", "an atomic instruction"),
    "leaves": (SEQUENCE + "jmp *(%rax)", "cannot be followed"),
    "loops": (SEQUENCE + "1: nop\ndec %rax\njnz 1b\nret", "a jump back"),
    "spins": (SEQUENCE + "1: jmp 1b", "a loop"),
    "early": ("mov (%rdi),%rax\nret", "no restartable sequence"),
    "long": (SEQUENCE + "inc %rax\n" * 4 + "ret", "instructions, the budget"),
    "loads": (SEQUENCE + "mov (%rdi),%rax\ncmp (%rsi),%rax\nret", "loads, the budget"),
    "stores": (SEQUENCE + "mov %rax,(%rdi)\nret", "stores, the budget"),
}


def row_refuses(_build, _library):
    if os.uname().machine != "x86_64":
        skip("the snippets are those of x86-64")
    source = ".text\n" + "".join(
        f".globl {name}\n.type {name},@function\n{name}:\n{body}\n" for name, (body, _) in SNIPPETS.items())
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="slabnode-test-") as folder:
        file = os.path.join(folder, "snippets.o")
        subprocess.run(["as", "--64", "-o", file, "-"], input=source, text=True, check=True)
        code, order = disassemble(file)
        entries = symbols(file, "-g")
        for name, (_, complaint) in SNIPPETS.items():
            try:
                check(walk(code, order, entries[name]), (5, 1, 1), True)
                said = None
            except Broken as broken:
                said = str(broken)
            if (said is None) != (complaint is None) or complaint not in (said or complaint or [None]):
                print(f"{name}: expected {complaint!r}, got {said!r}")
                wrong = 1
    return wrong


def executed(library, program, pairs, folder):
    """Instructions of a whole run in locked mode."""
    out = os.path.join(folder, f"callgrind.{pairs}")
    env = dict(os.environ, LD_PRELOAD=library, SLABNODE_CONTROL="off")
    subprocess.run(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", program, str(pairs)],
                   env=env, check=True)
    with open(out, encoding="utf-8") as file:
        return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)[1])


def row_locked(build, library):
    require_optimised(build)
    if shutil.which("valgrind") is None:
        skip("no valgrind")
    program = os.path.join(build, "tests", "fastpath", "pairs")
    with tempfile.TemporaryDirectory(prefix="slabnode-test-") as folder:
        few, many = (executed(library, program, n, folder) for n in (10000, 30000))
    pair = (many - few) / 20000
    print(f"locked: {pair:.1f} instructions a pair, the budget is {LOCKED_PAIR}")
    # Less than the fast line of malloc would mean that nothing was counted.
    return 0 if BUDGET["malloc"][0] < pair <= LOCKED_PAIR else 1


ROWS = list(BUDGET) + ["refuses", "locked"]


def main():
    if sys.argv[-1] == "--list":
        print("\n".join(ROWS))
        return 0
    build, library, row = sys.argv[1:]
    if row == "refuses":
        return row_refuses(build, library)
    if row == "locked":
        return row_locked(build, library)
    return row_function(row, build, library)


if __name__ == "__main__":
    sys.exit(main())
