"""Programs that look at the process itself: namespaces, sandboxes, tools, secure execution."""

import os
import re
import shutil
import subprocess
import tempfile

import subject
from subject import both, environment, fail, need, run, skip


def unshare():
    """Refused by the kernel when the process has a second thread: a small program has none."""
    need("unshare")
    if subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        skip("user namespaces are not permitted here")
    for _ in range(20):
        both(["unshare", "-Ur", "true"])
        both(["unshare", "-Ur", "id", "-u"])


def small_tools():
    """Tools of the system with their own ways of using memory."""
    for argv in (["true"], ["ls", "-la", "/etc"], ["find", "/etc", "-maxdepth", "2", "-type", "f"],
                 ["env", "-i", "/bin/true"], ["stat", "-c", "%n", "/"],
                 ["getent", "passwd"], ["date", "-d", "@0"], ["md5sum", "/bin/bash"],
                 ["od", "-A", "x", "-N", "5000", "/bin/bash"], ["locale", "-a"]):
        if shutil.which(argv[0]):
            both(argv, stderr=argv[0] not in ("find",),
                 status=run(argv, False, check=False).returncode)


def no_thread():
    """A small program never sees a second thread, and its file descriptors are its own."""
    out = run(["sh", "-c", "cat /proc/self/status; ls /proc/self/task | wc -l; ls -l /proc/self/fd"],
              True).stdout.decode()
    if "\nThreads:\t1\n" not in out:
        fail("a second thread in cat", out)
    if re.search(r"socket:|eventpoll|anon_inode", out):
        fail("descriptors that are not the program's", out)


CAPABILITIES = """
import ctypes, os, time
prctl = ctypes.CDLL(None).prctl
PR_CAP_AMBIENT, IS_SET, CLEAR_ALL = 47, 1, 4
def threads(wanted):
    end = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) != wanted and time.monotonic() < end:
        time.sleep(0.02)
    return len(os.listdir("/proc/self/task"))
print(threads(3), prctl(PR_CAP_AMBIENT, IS_SET, 0, 0, 0), end=" ")
time.sleep(0.2)
print(threads(3), prctl(PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0), threads(1))
"""


def capabilities():
    """Asking for capabilities, as libcap-ng does when it is loaded, leaves the control thread."""
    if not subject.SUBJECT_ENV:
        skip("there is no library in this mode")
    out = run(["/usr/bin/python3", "-c", CAPABILITIES], True, env={"SLABNODE_CONTROL": "on"}).stdout
    if out != b"3 0 3 0 1\n":
        fail("threads before, after asking, and after clearing: expected 3 0 3 0 1", out)


def seccomp_man():
    """Programs that install a strict filter on themselves."""
    for argv in (["man", "-P", "cat", "ls"], ["file", "/bin/bash"]):
        if shutil.which(argv[0]):
            done = run(argv, True, check=False)
            alone = run(argv, False, check=False)
            if done.returncode != alone.returncode:
                fail(f"{argv}: status {done.returncode}, alone {alone.returncode}", done.stderr)


def valgrind():
    """No restartable sequences there: the library must see that and work on."""
    need("valgrind")
    done = run(["valgrind", "-q", "--tool=none", "/bin/ls", "/"], True, check=False, timeout=200)
    alone = run(["/bin/ls", "/"], False)
    if done.returncode or done.stdout != alone.stdout:
        fail(f"status {done.returncode}", done.stdout, done.stderr)


def gdb():
    need("gdb")
    args = ["-nx", "-batch", "-ex", "run", "-ex", "info threads", "-ex", "kill", "--args"]
    env = [f"--eval-command=set environment {k} {v}" for k, v in subject.SUBJECT_ENV.items()]
    with tempfile.TemporaryDirectory() as cwd:
        done = subprocess.run(["gdb", *env, *args, "/bin/ls", "/"], cwd=cwd, capture_output=True,
                              text=True, timeout=200, env=environment(False))
    if "exited normally" not in done.stdout:
        fail("ls under gdb", done.stdout, done.stderr)


def strace():
    """What a small program asks of the kernel: no socket, no thread, no file left open."""
    need("strace")
    with tempfile.TemporaryDirectory() as cwd:
        log = os.path.join(cwd, "log")
        env = environment(False)
        env_args = [a for k, v in subject.SUBJECT_ENV.items() for a in ("-E", f"{k}={v}")]
        done = subprocess.run(["strace", "-f", "-o", log, *env_args, "/bin/ls", "/"], env=env,
                              capture_output=True, timeout=100)
        if done.returncode:
            skip("strace is not permitted here")
        with open(log, encoding="utf-8", errors="replace") as f:
            text = f.read()
    for bad in ("socket(", "clone(", "clone3(", "epoll_create", "eventfd", "memfd_create"):
        if bad in text:
            fail(f"ls under the library calls {bad})", text)


SECURE = r"""
set -e
mkdir "$1/etc"
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/ld.so.conf "$1/etc/"
touch "$1/said"
chmod 666 "$1/said"
echo "$2" >"$1/etc/ld.so.preload"
mount --bind "$1/etc" /etc
top=$1
shift 2
exec setpriv --reuid 65534 --regid 65534 --clear-groups \
    sh -c 'top=$1; shift; exec 2>"$top/said"; exec env "$@" "$top/suid" -u' sh "$top" "$@"
"""


def secure_run(library):
    """Runs a set-user-ID id with this library in a private /etc/ld.so.preload."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        shutil.copy("/usr/bin/id", os.path.join(top, "suid"))
        os.chmod(os.path.join(top, "suid"), 0o4755)
        env = {k: v for k, v in subject.SUBJECT_ENV.items() if k != "LD_PRELOAD"}
        env.update(SLABNODE_STATS="exit", SLABNODE_VERBOSE="2", SLABNODE_CONTROL="on",
                   SLABNODE_TOPOLOGY="synthetic:garbage")
        # The variables are for that program alone: those before it may well speak.
        options = [f"{name}={value}" for name, value in env.items()]
        done = subprocess.run(["unshare", "-m", "--propagation", "private", "bash", "-c", SECURE,
                               "bash", top, library, *options], env=environment(False),
                              capture_output=True, text=True, timeout=60)
        said = ""
        if os.path.exists(os.path.join(top, "said")):
            with open(os.path.join(top, "said"), encoding="utf-8") as f:
                said = f.read()
        return done, said


def secure():
    """A set-user-ID program with the library in ld.so.preload: options ignored, nothing said."""
    need("unshare", "setpriv")
    library = subject.SUBJECT_ENV.get("LD_PRELOAD", "")
    if not library:
        skip("there is no library in this mode")
    if os.geteuid() != 0:
        skip("needs root")
    done, _ = secure_run("")
    if done.returncode or done.stdout.strip() != "0":
        skip("no set-user-ID programs or private mounts here")
    done, said = secure_run(library)
    if done.returncode or done.stdout.strip() != "0":
        fail(f"status {done.returncode}", done.stdout, done.stderr, said)
    if said:
        fail("the set-user-ID program spoke", said)


CASES = {"unshare": unshare, "small-tools": small_tools, "no-thread": no_thread,
         "seccomp": seccomp_man, "valgrind": valgrind, "gdb": gdb, "strace": strace,
         "secure": secure, "capabilities": capabilities}
