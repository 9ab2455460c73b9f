#!/usr/bin/python3
"""What the built library looks like from outside, read with readelf.

    symbols.py ROW LIBRARY

Each row is one property that programs under LD_PRELOAD rely on; see ROWS.
"""

import os
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Of each architecture that has sequences: what stands before an abort, and who disassembles.
SIGNATURE = {"X86-64": 0x53053053, "AArch64": 0xd428bc00}
OBJDUMP = {"X86-64": "objdump", "AArch64": "aarch64-linux-gnu-objdump"}


def readelf(*args):
    env = dict(os.environ, LC_ALL="C")
    return subprocess.run(["readelf", "-W", *args], check=True, env=env,
                          capture_output=True, text=True).stdout


def dynamic_symbols(lib):
    """(name, defined, type) of each global dynamic symbol."""
    out = []
    for line in readelf("--dyn-syms", lib).splitlines():
        m = re.match(r"\s*\d+:\s+[0-9a-f]+\s+\S+\s+(\S+)\s+(\S+)\s+\S+\s+(.*?)\s*$", line)
        if not m or m.group(2) not in ("GLOBAL", "WEAK"):
            continue
        rest = m.group(3).split()
        if len(rest) < 2:
            continue
        name = rest[1].split("@")[0]
        out.append((name, rest[0] != "UND", m.group(1)))
    return out


def machine(lib):
    """The last word of what readelf calls it: X86-64, AArch64."""
    return re.search(r"Machine:.*?(\S+)\n", readelf("-h", lib)).group(1)


def intended():
    """Names, and prefixes."""
    names, prefixes = set(), []
    with open(os.path.join(HERE, "symbols.txt"), encoding="utf-8") as f:
        for line in f:
            name = line.split("#")[0].strip()
            if name.endswith("*"):
                prefixes.append(name[:-1])
            elif name:
                names.add(name)
    return names, prefixes


def fail(message):
    print(message)
    sys.exit(1)


def exported(lib):
    names, prefixes = intended()
    have = {n for n, defined, _ in dynamic_symbols(lib) if defined}
    missing = sorted(names - have)
    extra = sorted(n for n in have - names if not n.startswith(tuple(prefixes)))
    unused = [p for p in prefixes if not any(n.startswith(p) for n in have)]
    if missing or extra or unused:
        fail(f"missing: {' '.join(missing) or '-'}\nnot intended: {' '.join(extra) or '-'}\n"
             f"prefixes without a symbol: {' '.join(unused) or '-'}")


def public_header(lib):
    """Every function that slabnode.h declares is exported, and nothing else under its prefix."""
    header = os.path.join(HERE, "..", "..", "include", "slabnode.h")
    with open(header, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", f.read(), flags=re.S)
    text = re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)
    text = re.sub(r"\(\s*\*\s*\w+\s*\)\s*\([^()]*\)", "", text)
    declared = set()
    for statement in re.split(r"[;{}]", text):
        m = re.search(r"\b(slabnode_\w+)\s*\(", statement)
        if m and not statement.strip().startswith("typedef"):
            declared.add(m.group(1))
    have = {n for n, defined, _ in dynamic_symbols(lib)
            if defined and n.startswith("slabnode_")}
    if declared != have:
        fail(f"declared only: {sorted(declared - have)}\nexported only: {sorted(have - declared)}")


def tls_model(lib):
    """Thread-local variables are reached without a call that may allocate."""
    imports = {n for n, defined, _ in dynamic_symbols(lib) if not defined}
    if "__tls_get_addr" in imports:
        fail("imports __tls_get_addr: the TLS model is not initial-exec")
    has_tls = re.search(r"^\s*TLS\s", readelf("-l", lib), re.M)
    flags = re.search(r"\(FLAGS\)\s+(.*)", readelf("-d", lib))
    relocs = readelf("-r", lib)
    # The linker for ARM does not set the flag (binutils 2.40): there the relocations tell.
    static = "R_AARCH64_TLS_TPREL" in relocs or (flags and "STATIC_TLS" in flags.group(1))
    if has_tls and not static:
        fail("has thread-local variables without DF_STATIC_TLS")
    if re.search(r"R_X86_64_(DTPMOD|DTPOFF|TLSDESC)|R_AARCH64_TLS(_DTPMOD|DESC)", relocs):
        fail("has relocations of the dynamic TLS models")


def tls_size(lib):
    """Static TLS is scarce: a library that is opened late must still fit."""
    m = re.search(r"^\s*TLS\s+\S+\s+\S+\s+\S+\s+\S+\s+(\S+)", readelf("-l", lib), re.M)
    size = int(m.group(1), 16) if m else 0
    if size > 512:
        fail(f"{size} bytes of thread-local storage, at most 512 expected")


def textrel(lib):
    if "TEXTREL" in readelf("-d", lib):
        fail("has text relocations")


def stack_and_relro(lib):
    segments = readelf("-l", lib)
    stack = re.search(r"GNU_STACK\s+.*", segments)
    if not stack or "RWE" in stack.group(0):
        fail("asks for an executable stack")
    if "GNU_RELRO" not in segments:
        fail("has no read-only relocations")
    if re.search(r"^\s*LOAD\s.*RWE", segments, re.M):
        fail("has a segment that is both writable and executable")


def needed(lib):
    libs = re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", readelf("-d", lib))
    allowed = {"libc.so.6"}
    other = [x for x in libs if x not in allowed and not x.startswith("ld-linux")]
    if other or "libc.so.6" not in libs:
        fail(f"NEEDED: {libs}")


def nodelete(lib):
    flags = re.search(r"\(FLAGS_1\)\s+(.*)", readelf("-d", lib))
    if not flags or "NODELETE" not in flags.group(1):
        fail("is not marked NODELETE")


def soname(lib):
    m = re.search(r"\(SONAME\)\s+Library soname: \[(.*?)\]", readelf("-d", lib))
    if not m or m.group(1) != "libslabnode.so.1":
        fail(f"soname: {m.group(1) if m else 'none'}")


def glibc_age(lib):
    """The library runs on the glibc that has rseq, and on older ones where that costs nothing."""
    versions = {tuple(map(int, v.split(".")))
                for v in re.findall(r"Name: GLIBC_([0-9.]+)", readelf("-V", lib))}
    newest = max(versions, default=(0,))
    if newest > (2, 36):
        fail(f"needs glibc {'.'.join(map(str, newest))}")


def sections(lib):
    out = {}
    for line in readelf("-S", lib).splitlines():
        m = re.match(r"\s*\[\s*\d+\]\s+(\S+)\s+(\S+)\s+([0-9a-f]+)\s+([0-9a-f]+)\s+([0-9a-f]+)",
                     line)
        if m:
            out[m.group(1)] = tuple(int(m.group(i), 16) for i in (3, 4, 5))
    return out


def relative_relocations(lib):
    """Address to addend of each relative relocation: pointers of a shared library live there."""
    out = {}
    for line in readelf("-r", lib).splitlines():
        m = re.match(r"\s*([0-9a-f]+)\s+[0-9a-f]+\s+R_\w+_RELATIVE\s+([0-9a-f]+)\s*$", line)
        if m:
            out[int(m.group(1), 16)] = int(m.group(2), 16)
    return out


class Image:
    """The bytes of the library by their address once loaded (relative to its base)."""

    def __init__(self, lib):
        with open(lib, "rb") as f:
            self.data = f.read()
        self.loads = []
        for line in readelf("-l", lib).splitlines():
            m = re.match(r"\s*LOAD\s+0x(\w+)\s+0x(\w+)\s+0x\w+\s+0x(\w+)", line)
            if m:
                self.loads.append(tuple(int(x, 16) for x in m.groups()))

    def read(self, addr, size):
        for offset, start, length in self.loads:
            if start <= addr and addr + size <= start + length:
                return self.data[offset + addr - start:offset + addr - start + size]
        fail(f"address {addr:#x} is not in the file")
        return b""


def sequences(lib):
    """(start, end, abort) of each restartable sequence."""
    sec = sections(lib)
    if "__rseq_cs" not in sec:
        return []
    addr, _, size = sec["__rseq_cs"]
    image, relocs, out = Image(lib), relative_relocations(lib), []
    if size == 0 or size % 32:
        fail(f"section __rseq_cs has {size} bytes, no multiple of 32")
    for at in range(addr, addr + size, 32):
        version, flags, start, post, abort = struct.unpack("<IIQQQ", image.read(at, 32))
        start = relocs.get(at + 8, start)
        abort = relocs.get(at + 24, abort)
        if version or flags:
            fail(f"sequence at {at:#x}: version {version}, flags {flags}")
        out.append((start, start + post, abort))
    return out


def rseq(lib):
    """Each sequence is what the kernel accepts, and its abort is where the kernel will jump."""
    found = sequences(lib)
    if not found:
        if machine(lib) in SIGNATURE:
            fail("no section __rseq_cs, though the architecture has sequences")
        print("skip: no restartable sequences on this architecture")
        sys.exit(77)
    text_start, _, text_size = sections(lib)[".text"]
    image, signature = Image(lib), SIGNATURE[machine(lib)]
    for start, end, abort in found:
        where = f"sequence {start:#x}-{end:#x}, abort {abort:#x}"
        if not text_start <= start < end <= text_start + text_size:
            fail(f"{where}: not inside .text")
        if start <= abort < end:
            fail(f"{where}: the abort lies inside")
        if struct.unpack("<I", image.read(abort - 4, 4))[0] != signature:
            fail(f"{where}: no signature before the abort")
    print(f"{len(found)} sequences")


def rseq_calls(lib):
    """No call and no system call inside a sequence: the kernel kills for the latter."""
    found = sequences(lib)
    if not found:
        print("skip: no restartable sequences on this architecture")
        sys.exit(77)
    objdump = OBJDUMP[machine(lib)]
    for start, end, _ in sorted(set(found)):
        out = subprocess.run([objdump, "-d", "--no-show-raw-insn", f"--start-address={start}",
                              f"--stop-address={end}", lib], check=True, capture_output=True,
                             text=True).stdout
        body = re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", out, re.M)
        if not body:
            fail(f"sequence {start:#x}: nothing to disassemble")
        for at, insn in body:
            if re.match(r"(call|syscall|sysenter|int\b|ret|bl\b|blr\b|svc\b)", insn):
                fail(f"sequence {start:#x}: {at}: {insn}")


ROWS = {
    "exported": exported,
    "public-header": public_header,
    "tls-model": tls_model,
    "tls-size": tls_size,
    "textrel": textrel,
    "stack-and-relro": stack_and_relro,
    "needed": needed,
    "nodelete": nodelete,
    "soname": soname,
    "glibc-age": glibc_age,
    "rseq": rseq,
    "rseq-calls": rseq_calls,
}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
        return
    if len(sys.argv) != 3 or sys.argv[1] not in ROWS:
        sys.exit("usage: symbols.py ROW LIBRARY | --list")
    ROWS[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    main()
