# SPDX-License-Identifier: MIT
"""Servers: the server runs under the allocator, its client does not.

Time is what the client's load takes, processor time is the server's over its whole life,
memory is the server's VmHWM, read while it still lives (it belongs to the image that the
server executes, so the runner's own size does not show in it).
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from runner.measure import Failure, clean_environment

START_LIMIT = 10.0


class Server:
    """A server process that listens on a Unix socket in a folder of its own."""

    def __init__(self, command, preload, variables):
        self.folder = tempfile.mkdtemp(prefix="slabnode-bench-")
        self.socket = os.path.join(self.folder, "socket")
        environment = clean_environment(variables)
        # Only the server: clients are started from the runner's own environment.
        if preload:
            environment["LD_PRELOAD"] = preload
        self.log = open(os.path.join(self.folder, "log"), "w+", encoding="utf-8",
                        errors="replace")
        self.process = subprocess.Popen(
            [word.replace("@SOCKET@", self.socket) for word in command], env=environment,
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True)

    def wait_until_up(self):
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise Failure("the server ended at its start: %s" % self.last_words())
            try:
                with socket.socket(socket.AF_UNIX) as attempt:
                    attempt.connect(self.socket)
                    return
            except OSError:
                time.sleep(0.01)
        raise Failure("the server did not listen within %d s" % START_LIMIT)

    def last_words(self):
        self.log.flush()
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or ["no message"])[-1]

    def peak_kib(self):
        try:
            with open("/proc/%d/status" % self.process.pid, encoding="ascii") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1])
        except OSError:
            pass
        raise Failure("the server is gone: %s" % self.last_words())

    def end(self):
        """Asks the server to end and returns its processor times."""
        self.process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                if self.process.returncode not in (0, -signal.SIGTERM):
                    raise Failure("the server ended with %d: %s" %
                                  (self.process.returncode, self.last_words()))
                return usage
            time.sleep(0.01)
        raise Failure("the server did not end within %d s" % START_LIMIT)

    def close(self):
        if self.process.returncode is None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def run(test, contender, tools, warm):
    """One run of a server test; test.load is called with the socket's path."""
    tools.touch(warm)
    server = Server(test.command, contender.preload_for(test, tools.libc),
                    {**test.variables, **contender.variables})
    try:
        server.wait_until_up()
        begin = time.monotonic()
        test.load(server.socket, tools.timeout)
        wall = time.monotonic() - begin
        peak = server.peak_kib()
        usage = server.end()
    finally:
        server.close()
    return {"status": 0, "wall_s": wall, "user_s": usage.ru_utime, "sys_s": usage.ru_stime,
            "peak_kib": peak, "minor_faults": usage.ru_minflt,
            "switches": usage.ru_nvcsw + usage.ru_nivcsw}


def redis_load(client, requests):
    """A load of redis-benchmark's own commands with values of three lengths."""
    def load(path, timeout):
        for length, tests in ((40, "set,lpush,hset"), (400, "set,sadd,get"), (3000, "set,lpop")):
            command = [client, "-s", path, "-q", "-n", str(requests), "-r", "20000", "-c", "16",
                       "-P", "16", "-d", str(length), "-t", tests]
            try:
                ran = subprocess.run(command, env=clean_environment({}), capture_output=True,
                                     text=True, timeout=timeout, check=False)
            except subprocess.TimeoutExpired:
                raise Failure("the client did not finish in %d s" % timeout) from None
            if ran.returncode or "rror" in ran.stdout + ran.stderr:
                raise Failure("the client failed: %s" % (ran.stdout + ran.stderr).strip()[-200:])
    return load


def exchange(connection, request, values):
    """Sends a request that ends in `mn` and reads to its answer; checks how many values came."""
    connection.sendall(request)
    reply = b""
    while not reply.endswith(b"MN\r\n"):
        piece = connection.recv(1 << 20)
        if not piece:
            raise Failure("the server closed the connection")
        reply += piece
    if reply.count(b"VALUE key-") != values:
        raise Failure("%d values came back, not %d" % (reply.count(b"VALUE key-"), values))


def memcached_load(entries, turns):
    """Connections that come and go; on each all entries are set anew and then read in lots."""
    def sets(turn):
        lengths = [20 + (i * 37 + turn * 11) % 900 for i in range(entries)]
        return b"".join(b"set key-%d 0 0 %d noreply\r\n%s\r\n" % (i, length, b"x" * length)
                        for i, length in enumerate(lengths)) + b"mn\r\n"

    def gets(first, last):
        # Small enough that the whole reply fits where the server can put it.
        keys = b" ".join(b"key-%d" % i for i in range(first, last))
        return b"get " + keys + b"\r\nmn\r\n"

    writes = [sets(turn) for turn in range(2)]
    reads = [(gets(i, min(i + 50, entries)), min(i + 50, entries) - i)
             for i in range(0, entries, 50)]

    def load(path, timeout):
        try:
            for turn in range(turns):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(timeout)
                    connection.connect(path)
                    exchange(connection, writes[turn % 2], 0)
                    for request, values in reads:
                        exchange(connection, request, values)
        except OSError as error:
            raise Failure("the client failed: %s" % error) from None
    return load
