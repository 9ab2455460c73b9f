#!/usr/bin/python3
"""Programs under the library in places that lack something: places.py ROW | --list

No /proc, no /sys, nothing that can be written to, namespaces that are entered and left while the
control thread is there, programs that no preloaded library of this kind can be for.

The runner hands the environment that makes a program run under the library in SUBJECT_ENV.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "programs"))

import subject  # noqa: E402
from subject import environment, fail, need, skip  # noqa: E402

BUILD = pathlib.Path(os.environ.get("TEST_BUILD", HERE.parent.parent / "build"))
INMATE = BUILD / "tests/sandbox/inmate"
HOTPLUGCTL = BUILD / "tools/hotplugctl"
ON = {"SLABNODE_CONTROL": "on"}


def outside(argv, **keys):
    """A helper of the test, without the library."""
    return subprocess.run(argv, env=environment(False), capture_output=True, text=True, timeout=120,
                          check=False, **keys)


def shell(script, *arguments, under=(), env=None, noise=False):
    """A script without the library, in which "$@" begins a program that runs under it."""
    settings = {**environment(False), **subject.SUBJECT_ENV, **(env or {})}
    begin = ["env", *(f"{k}={v}" for k, v in settings.items())]
    done = outside(["sh", "-ec", script, "sh", *begin, *under, *arguments])
    if done.returncode:
        fail(f"status {done.returncode}", done.stdout, done.stderr)
    if not noise and re.search(r"^slabnode:|ERROR: ld.so", done.stderr, re.M):
        fail("noise on stderr", done.stderr)
    return done


def private(script):
    """The script in a mount namespace of its own; with a user namespace where that needs one."""
    for more in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *more, "--mount", "--propagation", "private"]
        if outside([*command, "true"]).returncode == 0:
            return " ".join(command) + f" sh -ec '{script}' sh \"$@\""
    return skip("mount namespaces are not permitted here")


def works(script, env=None, noise=False):
    if outside(["sh", "-ec", private(script), "sh", "true"]).returncode:
        skip("that cannot be mounted here")
    done = shell(private(script), INMATE, "_work", env={**ON, **(env or {})}, noise=noise)
    if "worked" not in done.stdout:
        fail("the program did not work", done.stdout, done.stderr)
    return done


# Where the loader and this test need nothing of /proc and /sys, an empty directory stands there.
def no_proc():
    works('mount -t tmpfs none /proc; exec "$@"')


def no_sys():
    works('mount -t tmpfs none /sys; exec "$@"')


def neither():
    works('mount -t tmpfs none /proc; mount -t tmpfs none /sys; exec "$@"')


def cpu_files():
    """What /sys says of CPUs need not be so: virtualised files name fewer, or numbers with gaps."""
    for cpus in ("0", "0,64-127"):
        works(f'mount -t tmpfs none /mnt; echo {cpus} >/mnt/cpus; for file in possible present online; '
              'do mount --bind /mnt/cpus /sys/devices/system/cpu/$file; done; exec "$@"')


def read_only():
    """Nothing can be written to, also the run directory, which does not exist."""
    works('mount --rbind / /mnt; mount -o remount,bind,ro /mnt; exec chroot /mnt "$@"',
          env={"SLABNODE_RUNDIR": "/var/lib/nowhere/slabnode"})


def empty_root():
    """A root with the program, the libraries, and not even /tmp."""
    with tempfile.TemporaryDirectory() as top:
        library = pathlib.Path(subject.SUBJECT_ENV.get("LD_PRELOAD", INMATE))
        modules = [library.with_name("slabnode-numa.so"), BUILD / "hotplug-sim/slabnode-sim.so"]
        files = [INMATE, library, *(m for m in modules if m.exists())]
        for file in files:
            listed = outside(["ldd", file]).stdout
            for name in [str(file), *re.findall(r"(/\S+) \(0x", listed)]:
                target = pathlib.Path(top + name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, target)
        if outside(["chroot", top, INMATE, "--list"]).returncode:
            skip("chroot is not permitted here")
        env = [f"{k}={v}" for k, v in {**subject.SUBJECT_ENV, **ON}.items()]
        root = ["python3", "-c", "import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); "
                "os.execve(sys.argv[2], sys.argv[2:4], dict(x.split('=', 1) for x in sys.argv[4:]))"]
        done = outside([*root, top, INMATE, "_work", *env])
        if done.returncode or "worked" not in done.stdout or "slabnode:" in done.stderr:
            fail(f"status {done.returncode}", done.stdout, done.stderr)


# A process with one thread of its own, and the library's beside it, that asks for namespaces.
NAMESPACES = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS = 0x20000, 0x10000000, 0x4000000
def must(result, what):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
keep = [bytes(1000) for _ in range(20000)]
own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
if sys.argv[1] == "user":
    must(libc.unshare(CLONE_NEWUSER), "unshare user")
if sys.argv[1] == "setns":
    must(libc.unshare(CLONE_NEWNS), "unshare mnt")
    must(libc.setns(own, CLONE_NEWNS), "setns mnt")
more = [bytes(1000) for _ in range(20000)]
print("worked", len(os.listdir("/proc/self/task")))
"""


def namespaces(kind):
    argv = ["/usr/bin/python3", "-c", NAMESPACES, kind]
    if outside(argv).returncode:
        skip("namespaces are not permitted here")
    done = subject.run(argv, True, env=ON)
    if done.stdout.split() != [b"worked", b"1"]:
        fail("threads are left", done.stdout)


def user_namespace():
    namespaces("user")


def setns():
    namespaces("setns")


def permitted(argv):
    if outside([*argv, "true"]).returncode:
        skip(f"{argv[0]} is not permitted here")


def unshare():
    """The tool itself runs under the library, with its control thread."""
    need("unshare")
    argv = ["unshare", "--user", "--map-root-user", "--pid", "--mount", "--ipc", "--uts", "--fork"]
    permitted(argv)
    done = subject.run([*argv, "sh", "-c", f"{INMATE} _work; echo $$"], True, env=ON)
    if done.stdout.split() != [b"worked", b"1"]:
        fail("output", done.stdout)


def nsenter():
    need("nsenter", "unshare")
    permitted(["unshare", "--user", "--map-root-user", "--mount"])
    holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                               "echo ready; read line"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=environment(False))
    with holder:
        holder.stdout.readline()
        argv = ["nsenter", "--preserve-credentials", "--user", "--mount", "-t", str(holder.pid)]
        permitted(argv)
        done = subject.run([*argv, INMATE, "_work"], True, env=ON)
        holder.stdin.close()
    if done.stdout != b"worked\n":
        fail("output", done.stdout)


def bubblewrap():
    """bwrap under the library, with the control thread, and the program that it starts."""
    need("bwrap")
    for more in (["--dev", "/dev", "--proc", "/proc", "--unshare-all"],
                 ["--tmpfs", "/proc", "--tmpfs", "/sys", "--unshare-user", "--unshare-pid"]):
        argv = ["bwrap", "--ro-bind", "/", "/", *more]
        permitted(argv)
        done = subject.run([*argv, INMATE, "_work"], True, env=ON)
        if done.stdout != b"worked\n":
            fail(f"{argv}", done.stdout)


# What no library of this kind is for, or is for in part.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static void *work(void *arg)
{
	for (int i = 0; i < 200000; i++) {
		char *p = malloc(i % 5000 + 1);
		if (!p)
			_exit(3);
		memset(p, 1, i % 5000 + 1);
		free(p);
	}
	return arg;
}
int main(void)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], 0, work, 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	int pid = fork(), status;
	if (pid == 0) {
		work(0);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return 4;
	puts("worked");
	return 0;
}
"""


def compiled(compiler, *options):
    """The program above; with the standard error of its run under the library."""
    need(compiler)
    with tempfile.TemporaryDirectory() as top:
        source, program = pathlib.Path(top) / "p.c", pathlib.Path(top) / "p"
        source.write_text(PROGRAM)
        built = outside([compiler, "-O1", "-fno-builtin", "-pthread", *options, "-o", program, source])
        if built.returncode:
            skip(f"{compiler} {' '.join(options)} does not build here")
        env = {**environment(False), **subject.SUBJECT_ENV, **ON, "SLABNODE_STATS": "json:/dev/stderr"}
        done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or done.stdout != "worked\n":
        fail(f"status {done.returncode}", done.stdout, done.stderr)
    return done.stderr


def musl():
    """It runs with the library, locked; of simulated nodes it is told that there are none."""
    said = compiled("musl-gcc")
    if '"fast_path":"locked"' not in said and subject.SUBJECT_ENV:
        fail("the library was not there", said)
    simulated = "SLABNODE_TOPOLOGY" in subject.SUBJECT_ENV
    lines = [line for line in said.splitlines() if line.startswith("slabnode:")]
    if len(lines) != simulated or lines and "slabnode-sim.so" not in lines[0]:
        fail("said", said)


def musl_static():
    if compiled("musl-gcc", "-static"):
        fail("a static program said something")


def static():
    if compiled("gcc", "-static"):
        fail("a static program said something")


# 32 bits, without headers and start files of that kind, which gcc-multilib would bring.
I386 = r"""
void *malloc(unsigned), free(void *), exit(int);
int puts(const char *);
void _start(void)
{
	__asm__("andl $-16, %esp");
	for (int i = 1; i < 10000; i++)
		free(malloc(i));
	puts("worked");
	exit(0);
}
"""


def i386():
    """The loader says that it does not take the library, and the program runs."""
    need("gcc")
    libc, loader = "/lib32/libc.so.6", "/lib/ld-linux.so.2"
    if not os.path.exists(libc) or not os.path.exists(loader):
        skip("there is no 32-bit libc (libc6-i386)")
    with tempfile.TemporaryDirectory() as top:
        source, program = pathlib.Path(top) / "p.c", pathlib.Path(top) / "p"
        source.write_text(I386)
        built = outside(["gcc", "-m32", "-O1", "-fno-builtin", "-fno-pic", "-no-pie", "-nostdlib", "-w",
                         "-o", program, source, libc, f"-Wl,-dynamic-linker,{loader}"])
        if built.returncode or outside([program]).returncode:
            skip("32-bit programs cannot be built or run here")
        env = {**environment(False), **subject.SUBJECT_ENV, **ON}
        done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stdout != "worked\n":
        fail(f"status {done.returncode}", done.stdout, done.stderr)
    if subject.SUBJECT_ENV and "wrong ELF class" not in done.stderr or "slabnode:" in done.stderr:
        fail("said", done.stderr)


def fakeroot():
    """Two preloaded libraries, the other of which watches files."""
    need("fakeroot")
    library = subject.SUBJECT_ENV.get("LD_PRELOAD", "")
    done = subject.run(["fakeroot", "sh", "-c", f"id -u; {INMATE} _work; echo $LD_PRELOAD"], True, env=ON)
    lines = done.stdout.decode().split()
    if lines[:2] != ["0", "worked"] or library not in lines[-1]:
        fail("output", done.stdout)


def sanitized():
    """Of a program with the address sanitizer only one of the two can be the allocator: the sanitizer,
    and it refuses to start when it is not named first."""
    library = subject.SUBJECT_ENV.get("LD_PRELOAD") or skip("there is no library in this mode")
    runtime = outside(["gcc", "-print-file-name=libasan.so"]).stdout.strip()
    if not os.path.isabs(runtime):
        skip("there is no libasan")
    with tempfile.TemporaryDirectory() as top:
        source, program = pathlib.Path(top) / "p.c", pathlib.Path(top) / "p"
        source.write_text(PROGRAM)
        if outside(["gcc", "-fsanitize=address", "-pthread", "-o", program, source]).returncode:
            skip("gcc -fsanitize=address does not build here")
        if outside([program]).stdout != "worked\n":
            skip("the address sanitizer does not run here")
        env = {**environment(False), **subject.SUBJECT_ENV, "ASAN_OPTIONS": "detect_leaks=0"}
        alone = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60, check=False)
        env["LD_PRELOAD"] = f"{runtime} {library}"
        both = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60, check=False)
    if alone.returncode == 0 or "does not come first" not in alone.stderr:
        fail(f"status {alone.returncode}", alone.stdout, alone.stderr)
    if both.returncode or both.stdout != "worked\n":
        fail(f"status {both.returncode}", both.stdout, both.stderr)


ROWS = {"no-proc": no_proc, "no-sys": no_sys, "no-proc-no-sys": neither, "cpu-files": cpu_files,
        "read-only": read_only,
        "empty-root": empty_root, "user-namespace": user_namespace, "setns": setns, "unshare": unshare,
        "nsenter": nsenter, "bwrap": bubblewrap, "musl": musl, "musl-static": musl_static,
        "static": static, "i386": i386, "fakeroot": fakeroot, "address-sanitizer": sanitized}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: places.py ROW | --list")
