#!/usr/bin/python3
"""The library for 64-bit ARM: cross-compiled, and run by an emulator: aarch64.py ROW | --list

    unit     unit tests of core/, a part, locked: the emulator of programs has no restartable sequences
    all      everything is compiled; all unit tests
    symbols  the library as tests/preload/symbols.py sees it from outside
    preload  programs of tests/preload under the library, on one node and on four simulated ones
    system   a guest machine, in which sequences are real (system.py): unit tests, programs, races

The compiler and its libc are Debian's cross packages. The other libraries (cmocka, numa, hwloc,
jansson) and busybox are ARM packages, downloaded into the build directory and unpacked there, never
installed.
Each test is a line of the output, as the harness reads it: `test NAME ok|fail SECONDS TEXT`.
"""

import fcntl
import glob
import os
import shutil
import subprocess
import sys
import time
import tomllib

import system

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(SOURCE, "build-check-aarch64")
SYSROOT = os.path.join(BUILD, "sysroot")
LIBRARIES = os.path.join(SYSROOT, "usr/lib/aarch64-linux-gnu")
LIBC = "/usr/aarch64-linux-gnu"
PACKAGES = ["libcmocka0", "libcmocka-dev", "libnuma1", "libnuma-dev", "libhwloc15", "libhwloc-dev",
            "libudev1", "libjansson4", "libjansson-dev", "busybox-static"]
TOOLS = ["aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "qemu-aarch64"]
EMULATOR = ["qemu-aarch64", "-L", LIBC, "-E", f"LD_LIBRARY_PATH={LIBRARIES}"]
PATIENCE = 1800

CROSS = f"""[binaries]
c = 'aarch64-linux-gnu-gcc'
cpp = 'aarch64-linux-gnu-g++'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = {EMULATOR}
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
[properties]
sys_root = '{SYSROOT}'
pkg_config_libdir = '{LIBRARIES}/pkgconfig'
[built-in options]
c_args = ['-isystem', '{SYSROOT}/usr/include', '-isystem', '{SYSROOT}/usr/include/aarch64-linux-gnu']
c_link_args = ['-L{LIBRARIES}', '-Wl,-rpath-link,{LIBRARIES}']
"""

# apt's lists and caches of another architecture, apart from the system's own.
APT = f"""APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
Dir::State "{BUILD}/apt";
Dir::State::status "/dev/null";
Dir::Cache "{BUILD}/apt";
Acquire::Languages "none";
"""

UNIT_PART = ["memory", "notifier"]
# These begin other programs, which the emulator would hand to the host, or look at the host itself.
PRELOAD = {
    "api": ["sweep", "many-of-each", "zero-size", "realloc", "realloc-random", "realloc-large",
            "overflow", "calloc-zero", "aligned", "usable-size", "errno-kept", "mixed-names",
            "from-libc"],
    "cxx": ["plain", "sized", "aligned", "containers", "exceptions", "thread-local"],
    "threads": ["first-operation", "free-only", "outlive", "cross-free", "churn"],
    "fork": ["threads", "nested", "atfork"],
    "caches": ["life", "constructor", "refused", "threads"],
}
# What the emulator of programs does not bear (7.2): the first two with any malloc.  Rows of the guest.
KEEPS = "the emulator keeps a quarter of a megabyte for each thread that ended"
FORKS = "a child of a program with threads dies in the emulator"
MOVED = "the emulator forgets the source of MREMAP_DONTUNMAP: faults, and keeps what is discarded there"
CANNOT = {("cxx", "thread-local"): KEEPS, ("threads", "free-only"): KEEPS, ("threads", "churn"): KEEPS,
          ("fork", "threads"): FORKS, ("fork", "atfork"): FORKS,
          ("api", "realloc-large"): MOVED, ("unit", "fault"): MOVED}
MODES = {"one": "synthetic:node:1 core:2 pu:1", "sim4": "synthetic:node:4 core:2 pu:1"}


class Broken(Exception):
    """A step of the preparation failed; the text says what it printed."""


def step(argv, **more):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise Broken(f"{' '.join(argv[:3])}: status {done.returncode}\n{done.stdout[-6000:]}")


def apt_environment():
    return dict(os.environ, APT_CONFIG=os.path.join(BUILD, "apt.conf"))


def unpacked():
    """The packages that stand in the sysroot."""
    try:
        with open(os.path.join(SYSROOT, "complete"), encoding="ascii") as f:
            return f.read().split()
    except FileNotFoundError:
        return []


def unpack_libraries():
    """True when the libraries stand in the sysroot."""
    if unpacked() == PACKAGES:
        return True
    for name in ("apt/lists/partial", "apt/archives/partial", "packages", "sysroot"):
        os.makedirs(os.path.join(BUILD, name), exist_ok=True)
    env = apt_environment()
    with open(env["APT_CONFIG"], "w", encoding="ascii") as f:
        f.write(APT)
    packages = os.path.join(BUILD, "packages")
    try:
        step(["apt-get", "-qq", "update"], env=env)
        step(["apt-get", "-qq", "download", *PACKAGES], env=env, cwd=packages)
        for name in glob.glob(f"{packages}/*.deb"):
            step(["dpkg-deb", "-x", name, SYSROOT])
    except (Broken, OSError) as e:
        print(e, file=sys.stderr)
        return False
    with open(os.path.join(SYSROOT, "complete"), "w", encoding="ascii") as f:
        f.write(" ".join(PACKAGES))
    return True


def configure():
    cross = os.path.join(BUILD, "cross.ini")
    if os.path.exists(os.path.join(BUILD, "build.ninja")):
        return
    with open(cross, "w", encoding="ascii") as f:
        f.write(CROSS)
    step(["meson", "setup", "--cross-file", cross, "-Dwerror=true", "--buildtype=debugoptimized",
          "-Dbench=false", "-Dusdt=disabled", "-Dlibdw=disabled", "-Dncurses=disabled", BUILD,
          SOURCE])


def compile_targets(targets):
    step(["ninja", "-C", BUILD, *targets])


def emulate(name, argv, env=None):
    settings = [word for key, value in (env or {}).items() for word in ("-E", f"{key}={value}")]
    return report(name, EMULATOR + settings + argv)


def emulate_unless_it_cannot(program, row, name, argv, env=None):
    if (program, row) not in CANNOT:
        return emulate(name, argv, env)
    print(f"test {name} skip 0 {CANNOT[program, row]}")
    return True


def report(name, argv):
    """Runs a program and reports it as a test; whether it did what it must."""
    begin = time.monotonic()
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE, text=True, errors="replace",
                              env=dict(os.environ, UNIT_SECONDS=str(PATIENCE)))
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        status, output = -1, f"not done after {PATIENCE} s"
    seconds = time.monotonic() - begin
    word = {0: "ok", 77: "skip"}.get(status, "fail")
    reason = {"ok": "", "skip": output.strip().removeprefix("skip: ").split("\n")[0]}
    print(f"test {name} {word} {seconds:.1f} {reason.get(word, f'status {status}')}")
    if word == "fail":
        print(output[-4000:])
    sys.stdout.flush()
    return word != "fail"


def unit(names):
    compile_targets([f"tests/unit/unit-{name}" for name in names])
    return all([emulate_unless_it_cannot("unit", name, name,
                                         [f"{BUILD}/tests/unit/unit-{name}", "locked"]) for name in names])


def unit_names():
    return sorted(os.path.basename(path)[5:-2]
                  for path in glob.glob(f"{SOURCE}/tests/unit/test_*.c"))


def everything():
    compile_targets([])
    return unit(unit_names())


def symbols():
    compile_targets(["preload/libslabnode.so.1.0.0"])
    script = [sys.executable, f"{SOURCE}/tests/preload/symbols.py"]
    rows = subprocess.run(script + ["--list"], check=True, capture_output=True, text=True).stdout
    return all([report(f"symbols-{row}", script + [row, f"{BUILD}/preload/libslabnode.so.1.0.0"])
                for row in rows.split()])


def check_rows(suite, programs):
    """Rows that a suite no longer has would be tested for nothing."""
    with open(f"{SOURCE}/tests/{suite}/rows.toml", "rb") as f:
        groups = tomllib.load(f)["group"]
    known = {(group["run"][0].rsplit("/", 1)[-1], row if isinstance(row, str) else row["name"])
             for group in groups for row in group["rows"]}
    for program, rows in programs.items():
        for row in rows:
            if (program, row) not in known:
                raise Broken(f"tests/{suite} has no row {row} of {program}")


def preload():
    check_rows("preload", PRELOAD)
    compile_targets([])
    fine = True
    for mode, topology in MODES.items():
        env = {"LD_PRELOAD": f"{BUILD}/preload/libslabnode.so", "SLABNODE_TEST": "1",
               "SLABNODE_TOPOLOGY": topology, "SLABNODE_RUNDIR": os.environ["SLABNODE_RUNDIR"]}
        for program, rows in PRELOAD.items():
            for row in rows:
                fine &= emulate_unless_it_cannot(
                    program, row, f"{program}-{row}-{mode}",
                    [f"{BUILD}/tests/preload/{program}", row], env)
    return fine


def guest():
    check_rows("preload", system.PROGRAMS)
    check_rows("races", system.RACES)
    compile_targets(system.targets())
    return system.run(BUILD, LIBC, LIBRARIES, f"{SYSROOT}/bin/busybox", apt_environment())


ROWS = {"unit": lambda: unit(UNIT_PART), "all": everything, "symbols": symbols, "preload": preload,
        "system": guest}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
        return 0
    if len(sys.argv) != 2 or sys.argv[1] not in ROWS:
        sys.exit(__doc__)
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"skip: {missing[0]} is not installed")
        return 77
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpack_libraries():
            print("skip: libraries for arm64 cannot be downloaded")
            return 77
        try:
            configure()
            return 0 if ROWS[sys.argv[1]]() else 1
        except system.image.Unavailable as e:
            print(f"skip: {e}")
            return 77
        except Broken as e:
            print(e)
            return 1


if __name__ == "__main__":
    sys.exit(main())
