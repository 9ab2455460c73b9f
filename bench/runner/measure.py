# SPDX-License-Identifier: MIT
"""One measured run: the launcher around a program, with a time limit and warm memory.

LD_PRELOAD is handed to the launcher as an argument, never as an environment variable, so
that nothing but the measured program sees it.
"""
import json
import os
import signal
import subprocess

MIB = 1024 * 1024
WARM_LEAST = 64 * MIB
WARM_UNKNOWN = 256 * MIB
WARM_MARGIN = 1.3
# Settings of the user's that would change what is measured.
DROPPED = ("LD_", "MALLOC_", "SLABNODE_", "GLIBC_TUNABLES", "MIMALLOC_", "TCMALLOC_", "JE_MALLOC",
           "PYTHON", "PERL", "LUA_", "GS_")


class Failure(Exception):
    """A run that ended wrongly; its text says how."""


def clean_environment(extra):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(DROPPED)}
    environment["LC_ALL"] = "C"
    environment.update(extra)
    return environment


def warm_bytes(peaks_kib, fixed=None):
    """How much memory to touch before a run: what the test was seen to need, and more.

    `fixed` is an amount in MiB that the user wants instead; 0 touches nothing.
    """
    if fixed is not None:
        return fixed * MIB
    if not peaks_kib:
        return WARM_UNKNOWN
    return max(WARM_LEAST, int(max(peaks_kib) * 1024 * WARM_MARGIN))


def reported(text):
    """The `key=value` pairs that a workload prints about itself."""
    values = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        try:
            values[key] = float(value) if equals else None
        except ValueError:
            continue
    return {key: value for key, value in values.items() if value is not None}


def own_rest(cost):
    """What a workload tells about a load that ends before it does takes the usual places."""
    told = cost["reported"]
    if "load_ms" not in told:
        return
    cost["wall_s"] = told["load_ms"] / 1000
    cost["after_kib"] = {key[len("after"):-len("_kib")]: int(value) for key, value in told.items()
                         if key.startswith("after") and key.endswith("_kib")}


def last_line(text):
    return (text.strip().splitlines() or ["no message"])[-1]


class Tools:
    """The project's own binaries, the time limit of a run and the pauses after a load."""

    def __init__(self, build, timeout, pauses):
        self.workloads = os.path.join(build, "bench", "slabnode-bench")
        self.launcher = os.path.join(build, "bench", "slabnode-launch")
        self.timeout = timeout
        self.pauses = pauses
        self.libc = None

    def missing(self):
        return [path for path in (self.workloads, self.launcher) if not os.access(path, os.X_OK)]

    def launch(self, command, preload=None, variables=None, warm=0, count=1, folder=None):
        """Runs a command to its end; returns its cost, its output and its messages."""
        read_end, write_end = os.pipe()
        line = [self.launcher, "-w", str(warm), "-n", str(count), "-r", str(write_end)]
        if preload:
            line += ["-p", preload]
        try:
            child = subprocess.Popen(line + ["--"] + command, cwd=folder, text=True,
                                     env=clean_environment(variables or {}),
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, pass_fds=[write_end],
                                     start_new_session=True)
            os.close(write_end)
            output, messages = self._finish(child)
            with os.fdopen(read_end, closefd=False) as pipe:
                result = pipe.read()
        finally:
            os.close(read_end)
        if not result:
            raise Failure("the launcher gave no result: %s" % last_line(messages))
        return json.loads(result), output, messages

    def _finish(self, child):
        """Waits within the time limit; on any way out the whole session of the child is gone."""
        try:
            return child.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise Failure("not finished after %d s" % self.timeout) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()

    def probe(self, contender):
        """Path of the object that malloc comes from under a contender."""
        cost, output, messages = self.launch([self.workloads, "probe"], contender.library,
                                             contender.variables)
        if cost["status"]:
            raise Failure("does not run: %s" % last_line(messages))
        return os.path.realpath(output.strip())

    def touch(self, amount):
        """Touches and frees memory without measuring anything."""
        self.launch(["true"], warm=amount)

    def run(self, test, contender, warm):
        """One run of a test that is a command; servers have their own way (servers.py)."""
        cost, output, messages = self.launch(
            test.command, contender.preload_for(test, self.libc),
            {**test.variables, **contender.variables}, warm, test.count, test.folder)
        if cost["status"]:
            raise Failure("ended with status %d: %s" % (cost["status"], last_line(messages)))
        if "ERROR: ld.so" in messages:
            raise Failure(last_line(messages))
        if not test.steady or not cost["steady_kib"]:
            del cost["steady_kib"]
        if test.own_figures:
            cost["reported"] = reported(output)
            own_rest(cost)
        return cost
