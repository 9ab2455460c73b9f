#!/usr/bin/python3
"""What is installed works where it is installed.

    install.py ROW | --list

Each row installs the build directory (TEST_BUILD) below a directory of its own and uses nothing else.
"""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from prefix import BUILD, FOUR_NODES, SOURCE, fail, installed, run, skip

BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"


# --- files ---------------------------------------------------------------------------------------

def source_has_follow():
    return '{"follow",' in (SOURCE / "tools/hotplugctl/commands.c").read_text()


def without_debug(file):
    """The bytes of a file; of an object file without what is there for debuggers alone."""
    if not file.read_bytes().startswith(b"\x7fELF"):
        return file.read_bytes()
    with tempfile.NamedTemporaryFile(prefix="slabnode-test-") as stripped:
        run(["strip", "--strip-debug", "-o", stripped.name, file])
        return pathlib.Path(stripped.name).read_bytes()


def files():
    """Just these files, with the modes and links that their users need."""
    with installed() as p:
        here = {str(f.relative_to(p.top)) for f in p.root.rglob("*") if not f.is_dir()}
        lib, share = p.lib.relative_to(p.top), p.share.relative_to(p.top)
        want = {"bin/hotplugctl", "bin/slabnode-run", "include/slabnode.h",
                f"{lib}/libslabnode.so", f"{lib}/libslabnode.so.1", f"{lib}/libslabnode.so.1.0.0",
                f"{lib}/slabnode/slabnode-numa.so", f"{lib}/slabnode/slabnode-sim.so",
                f"{lib}/pkgconfig/slabnode.pc",
                f"{share}/man/man1/hotplugctl.1", f"{share}/man/man1/slabnode-run.1",
                f"{share}/man/man3/slabnode.h.3", f"{share}/man/man7/libslabnode.7",
                f"{share}/bash-completion/completions/hotplugctl",
                f"{share}/bash-completion/completions/slabnode-run"}
        # A unit for a command that does not exist would be a trap.
        if source_has_follow():
            want.add("lib/systemd/system/slabnode-follow.service")
        if here != want:
            fail(f"not installed: {sorted(want - here)}", f"installed, too: {sorted(here - want)}")
        dynamic = run(["readelf", "-d", p.lib / "libslabnode.so"])
        if "[libslabnode.so.1]" not in dynamic:
            fail("the soname is not libslabnode.so.1", dynamic)
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic)) - {"libc.so.6"}
        needed = {n for n in needed if not n.startswith("ld-linux")}
        if needed:
            fail(f"libslabnode.so links {sorted(needed)}, not libc alone")
        for f in p.root.rglob("*"):
            if f.is_file() and not f.is_symlink() and str(BUILD).encode() in without_debug(f):
                fail(f"{f.name} names the build directory")


# --- tools ---------------------------------------------------------------------------------------

def tools():
    """slabnode-run and hotplugctl, from an installation without the -dev part."""
    with installed() as p:
        (p.lib / "libslabnode.so").unlink()
        with p.process("sleep", "60") as program:
            def ctl(*words):
                return run([p.hotplugctl, "-p", program.pid, *words], env=p.env(LD_LIBRARY_PATH=""))

            nodes = json.loads(ctl("--json", "status"))["nodes"]
            if len(nodes) != 4:
                fail("the simulator was not found beside the library", nodes)
            ctl("offline", "1")
            if json.loads(ctl("--json", "status"))["nodes"][1]["state"] != "offline":
                fail("node 1 did not leave")
            ctl("online", "1", "--rebalance")
            preloaded = re.search(rb"LD_PRELOAD=([^\0]*)",
                                  open(f"/proc/{program.pid}/environ", "rb").read()).group(1).decode()
            if preloaded != str(p.lib / "libslabnode.so.1"):
                fail(f"LD_PRELOAD={preloaded}: an upgrade would take that name away")
        version = run(["meson", "introspect", "--projectinfo", BUILD])
        version = json.loads(version)["version"]
        for tool in (p.hotplugctl, p.slabnode_run):
            if version not in run([tool, "--version"]):
                fail(f"{tool.name} is not version {version}")


def moved():
    """An installation can be moved as a whole."""
    with installed() as p:
        other = p.root / "elsewhere"
        shutil.move(p.top, other)
        out = run([other / "bin/slabnode-run", "--topology", FOUR_NODES, "--stats", "exit", "true"],
                  env=p.env(LD_LIBRARY_PATH=""))
        seen = run(["sh", "-c", 'LD_PRELOAD= tr "\\0" "\\n" </proc/self/environ'],
                   env=p.env(LD_PRELOAD=str(other / p.lib.relative_to(p.top) / "libslabnode.so.1")))
        if str(other) not in seen or out:
            fail(out, seen)


def man():
    """man finds each page below the prefix and formats it."""
    if not shutil.which("man"):
        skip("man is not installed")
    with installed() as p:
        for section, name, word in ((1, "hotplugctl", "offline"), (1, "slabnode-run", "--topology"),
                                    (7, "libslabnode", "SLABNODE_TOPOLOGY"),
                                    (3, "slabnode.h", "slabnode_malloc_node")):
            if word not in run(["man", "-P", "cat", str(section), name],
                               env=p.env(LD_LIBRARY_PATH="", MANWIDTH="80")):
                fail(f"man {section} {name} lacks {word}")


# --- programs ------------------------------------------------------------------------------------

C_USER = """
#include <slabnode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	char *p = slabnode_malloc_node(100, slabnode_max_node() - 1);

	if (!p || slabnode_node_of(p) != slabnode_max_node() - 1)
		return 1;
	memset(p, 1, 100);
	free(p);
	printf("%s\\n", slabnode_version());
	return 0;
}
"""


def pkg_config():
    """A program finds header and library by pkg-config, and runs with the library as its malloc."""
    with installed() as p:
        source, program = p.root / "user.c", p.root / "user"
        source.write_text(C_USER)
        run(["cc", "-Wall", "-Wextra", "-Werror", *p.flags("--cflags"), source, "-o", program,
             *p.flags("--libs")])
        version = run(["pkg-config", "--modversion", "slabnode"], env=p.env()).strip()
        if run([program], env=p.env()).strip() != version:
            fail(f"the library is not the version {version} of pkg-config")
        if run(["pkg-config", "--print-requires", "slabnode"], env=p.env()).strip():
            fail("slabnode.pc requires other packages")


def cxx():
    """slabnode.h in C++11 and C++20, by both compilers, without a warning; exceptions, destructors
    and a standard container over it."""
    source = SOURCE / "tests/install/user.cpp"
    compilers = [c for c in ("g++", "clang++") if shutil.which(c)]
    if "g++" not in compilers:
        skip("g++ is not installed")
    with installed() as p:
        for compiler in compilers:
            for standard in ("c++11", "c++20"):
                program = p.root / f"user-{compiler}-{standard}"
                run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2",
                     *p.flags("--cflags"), source, "-o", program, *p.flags("--libs"), "-pthread"])
                run([program], env=p.env())
        for compiler, language in (("gcc", "c99"), ("gcc", "c11"), ("clang", "c17")):
            if shutil.which(compiler):
                run([compiler, f"-std={language}", "-Wall", "-Wextra", "-pedantic", "-Werror",
                     "-fsyntax-only", "-x", "c", p.top / "include/slabnode.h"])
    if "clang++" not in compilers:
        skip("g++ passed; clang++ is not installed")


# --- completion ----------------------------------------------------------------------------------

class Shell:
    """An interactive bash on a terminal, whose own completion fills in the line."""

    def __init__(self, prefix):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            env = prefix.env(LD_LIBRARY_PATH="", TERM="dumb", PS1="", HISTFILE="",
                             XDG_DATA_DIRS=str(prefix.share), COLUMNS="4000", INPUTRC="/dev/null")
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], env)
        self.seen = ""
        self.send("stty cols 4000; bind 'set enable-bracketed-paste off' 'set bell-style none'\n")
        if os.path.exists(BASH_COMPLETION):
            self.send(f". {BASH_COMPLETION}\n")
        else:
            for tool in ("hotplugctl", "slabnode-run"):
                self.send(f". {prefix.share}/bash-completion/completions/{tool}\n")
        self.send("bind -x '\"\\C-t\": printf \"<%s>\" \"$READLINE_LINE\"'; echo rea''dy\n")
        self.wait(r"ready")

    def send(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        end = time.monotonic() + 20
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if time.monotonic() > end or not select.select([self.fd], [], [], 20)[0]:
                fail(f"the shell does not answer; it showed: {self.seen[-2000:]!r}")
            self.seen += os.read(self.fd, 65536).decode(errors="replace")

    def complete(self, line):
        """The words that bash puts in for the last one: by M-*, which inserts all of them."""
        self.send(line + "\x1b*" + "\x14")
        full = self.wait(r"<([^<>]*)>").group(1)
        self.send("\x15")
        before = line[:len(line) - len(re.search(r"[^ =]*$", line).group(0))]
        if not full.startswith(before):
            fail(f"{line!r} became {full!r}")
        return set(full[len(before):].split())

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def help_words(p):
    """What each command takes, by its own help: command -> synopsis without the common part."""
    text = run([p.hotplugctl, "help"]).split("Commands:")[1]
    out = {}
    for name in re.findall(r"^  ([a-z-]+) ", text, re.M):
        usage = run([p.hotplugctl, "help", name]).split("\n\n")[0]
        out[name] = " ".join(usage.split()).split(f"[--json] {name}", 1)[1]
    return out


def alone():
    """Goes on in a pid namespace of its own: what else runs with the library is not to be seen."""
    if os.environ.get("INSTALL_ALONE"):
        return
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*argv, "true"], capture_output=True, check=False).returncode != 0:
        skip("namespaces are not permitted here")
    os.environ["INSTALL_ALONE"] = "1"
    os.execvp("unshare", [*argv, sys.executable, *sys.argv])


def completion():
    """Every command, option, process, node and column, by pressing keys in a shell."""
    alone()
    with installed() as p, p.process("sleep", "60") as program:
        shell = Shell(p)

        def expect(line, want, exactly=True):
            have = shell.complete(line)
            if have != want if exactly else not want <= have:
                fail(f"{line!r}: completed {sorted(have)}, wanted {sorted(want)}")

        commands = help_words(p)
        nodes = {"0", "1", "2", "3"}
        expect("hotplugctl ", set(commands))
        expect("hotplugctl onl", {"online"})
        expect("hotplugctl help st", {c for c in commands if c.startswith("st")})
        expect("hotplugctl --", {"--pid", "--all", "--socket", "--json", "--help", "--version"})
        for name, synopsis in commands.items():
            options = set(re.findall(r"(?<=[\[ ])--?[a-z-]+", synopsis))
            expect(f"hotplugctl {name} -", options | {"-p", "-a", "-s", "--json"})
            if re.match(r" \[?N\b", synopsis):
                expect(f"hotplugctl {name} ", nodes)
            for option, values in re.findall(r"(--[a-z-]+) ([a-z]+(?:\|[a-z]+)+)", synopsis):
                expect(f"hotplugctl {name} {option} ", set(values.split("|")))
            columns = re.search(r"Columns: ([^.]*)\.", run([p.hotplugctl, "help", name]))
            if columns:
                expect(f"hotplugctl {name} -o ", set(columns.group(1).split()))
        expect("hotplugctl -p ", {str(program.pid)})
        expect("hotplugctl --pid=", {str(program.pid)})
        expect(f"hotplugctl -p {program.pid} offline ", nodes)
        expect("hotplugctl offline 1 --policy m", {"migrate"})
        expect("hotplugctl offline 1 --policy=", {"strict", "wait", "migrate"})
        expect("hotplugctl offline --timeout ", set())
        expect("hotplugctl offline 1 --to 2,", {f"2,{n}" for n in nodes})
        expect("hotplugctl status -o NODE,LI", {"NODE,LIVE"})
        expect(f"hotplugctl -s {p.rundir}/{program.pid}.so", {f"{p.rundir}/{program.pid}.sock"})
        expect("hotplugctl fault move-", {"move-busy", "move-nomem", "move-shared"})
        expect("hotplugctl storm --policy ", {"strict", "wait", "migrate"})
        expect(f"{p.hotplugctl} unc", {"uncordon"})
        # Nobody answers: nothing is completed, and nothing is said.
        expect("hotplugctl -p 999999999 offline ", set())

        usage = run([p.slabnode_run, "--help"])
        expect("slabnode-run --", set(re.findall(r"--[a-z-]+", usage)))
        expect("slabnode-run --policy ", {"strict", "wait", "migrate"})
        expect("slabnode-run --topology=a", {"auto"})
        expect("slabnode-run --policy wait basen", {"basename", "basenc"}, exactly=False)
        if os.path.exists(BASH_COMPLETION):
            expect("slabnode-run -- hotplugctl onl", {"online"})
        shell.close()


# --- probes --------------------------------------------------------------------------------------

TRACER = SOURCE / "docs/examples/trace/lifecycle.bt"


def source_probes():
    """name -> number of arguments, of every SN_PROBE() in the sources."""
    out = {}
    for path in [*SOURCE.glob("core/*.c"), *SOURCE.glob("preload/*.c")]:
        for name, arguments in re.findall(r"\bSN_PROBE\((\w+),((?:[^();]|\([^()]*\))*)\);",
                                          path.read_text()):
            count = re.sub(r"\([^()]*\)", "", arguments).count(",") + 1
            if out.setdefault(name, count) != count:
                fail(f"probe {name} has {out[name]} arguments here and {count} there")
    if len(out) < 10:
        fail(f"only these probes were understood: {sorted(out)}")
    return out


def installed_probes(library):
    """What readelf finds: (name, address, number of arguments)."""
    notes = run(["readelf", "-n", "-W", library])
    return [(name, int(at, 16), len(arguments.split())) for name, at, arguments in re.findall(
        r"Provider: slabnode\n\s+Name: (\S+)\n\s+Location: (0x[0-9a-f]+),.*\n\s+Arguments: (.*)", notes)]


def bytes_at(library, addresses):
    """The byte at each address, as the loader would map it."""
    loads = re.findall(r"LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+)", run(["readelf", "-lW", library]))
    data = library.read_bytes()
    for address in addresses:
        for offset, start, size in ((int(x, 16) for x in load) for load in loads):
            if start <= address < start + size:
                yield data[offset + address - start]


def probes():
    """readelf finds each probe of the sources, with its arguments, on a nop; the page lists them, and
    the tracer uses nothing else."""
    with installed() as p:
        library = p.lib / "libslabnode.so.1.0.0"
        found = installed_probes(library)
        if not found and not os.path.exists("/usr/include/x86_64-linux-gnu/sys/sdt.h"):
            skip("built without sys/sdt.h (systemtap-sdt-dev)")
        want = source_probes()
        if {name: count for name, _, count in found} != want:
            fail(f"found {sorted(found)}", f"wanted {sorted(want.items())}")
        if set(bytes_at(library, [at for _, at, _ in found])) != {0x90}:
            fail("a probe is not a nop")
        page = (SOURCE / "docs/man/libslabnode.7").read_text()
        told = {name: len(arguments.split()) for name, arguments in
                re.findall(r"^\.It Ic (\w+) Ar (.*)", page, re.M)}
        if told != want:
            fail(f"libslabnode(7) lists {sorted(told.items())}", f"wanted {sorted(want.items())}")
        tracer = TRACER.read_text()
        for name, body in re.findall(r"usdt::slabnode:(\w+)([^}]*)}", tracer):
            highest = max([-1, *map(int, re.findall(r"\barg(\d)", body))])
            if name not in want or highest >= want[name]:
                fail(f"{TRACER.name} uses argument {highest} of {name}")


def probes_live():
    """The tracer of the examples sees a node leave and return."""
    if not shutil.which("bpftrace"):
        skip("bpftrace is not installed")
    able = subprocess.run(["bpftrace", "-e", "BEGIN { exit(); }"], capture_output=True, text=True,
                          timeout=60, check=False)
    if able.returncode != 0:
        skip("bpftrace may not run here: " + (able.stderr.splitlines() or ["no reason given"])[-1])
    with installed() as p, p.process("sleep", "60") as program:
        # A job in a shell's background ignores SIGINT, and so do its children.
        tracer = subprocess.Popen(["bpftrace", "-p", str(program.pid), str(TRACER)], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        seen = ""
        while "following" not in seen:
            line = tracer.stdout.readline()
            seen += line
            if not line:
                fail("bpftrace ended", seen)
        for words in (["offline", "1"], ["online", "1"]):
            run([p.hotplugctl, "-p", program.pid, *words], env=p.env(LD_LIBRARY_PATH=""))
        time.sleep(0.5)
        tracer.send_signal(signal.SIGINT)
        try:
            seen += tracer.communicate(timeout=10)[0]
        except subprocess.TimeoutExpired:  # it hears no signal now and then while others trace, too
            tracer.kill()
            seen += tracer.communicate()[0]
        for line in ("node 1: online -> going-offline  MEM_GOING_OFFLINE", "-> offline  MEM_OFFLINE",
                     "node 1: done, ", "node 1: going-online -> online  MEM_ONLINE"):
            if line not in seen:
                fail(f"the tracer did not show {line!r}", seen)


def unit():
    """The unit of `hotplugctl follow`, when there is such a command, is one that systemd takes."""
    if not source_has_follow():
        skip("there is no command 'follow' yet, so no unit is installed")
    with installed() as p:
        path = p.top / "lib/systemd/system/slabnode-follow.service"
        text = path.read_text()
        if not re.search(rf"^ExecStart={p.configured}/bin/hotplugctl follow$", text, re.M):
            fail("the unit does not start the installed tool", text)
        if not shutil.which("systemd-analyze"):
            skip("systemd-analyze is not installed")
        path.write_text(text.replace(str(p.configured), str(p.top)))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], text=True,
                              capture_output=True, timeout=60, check=False)
        if "slabnode" in done.stderr:
            fail(done.stderr)


ROWS = {"files": files, "tools": tools, "moved": moved, "man": man, "pkg-config": pkg_config,
        "cxx": cxx, "completion": completion, "probes": probes,
        "probes-live": probes_live, "unit": unit}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: install.py ROW | --list")
