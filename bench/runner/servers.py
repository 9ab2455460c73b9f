# SPDX-License-Identifier: MIT
"""Servers: the server runs under the allocator, its client does not.

Time is what the client's load takes, processor time is the server's over its whole life,
memory is the server's VmHWM, read while it still lives (it belongs to the image that the
server executes, so the runner's own size does not show in it). Resident memory is read when the
load ends, with all that the server then stores, and again after each pause; before the pauses the
client tells the server to forget what it stores, where it can be told.
"""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from runner import machine
from runner.measure import Failure, clean_environment

START_LIMIT = 10.0


class Server:
    """A server process that listens on a Unix socket in a folder of its own."""

    def __init__(self, test, preload, variables):
        self.folder = tempfile.mkdtemp(prefix="slabnode-bench-")
        self.socket = os.path.join(self.folder, "socket")
        if test.prepare:
            test.prepare(self.folder)
        environment = clean_environment(variables)
        # Only the server: clients are started from the runner's own environment.
        if preload:
            environment["LD_PRELOAD"] = preload
        self.log = open(os.path.join(self.folder, "log"), "w+", encoding="utf-8",
                        errors="replace")
        self.process = subprocess.Popen(
            [word.replace("@FOLDER@", self.folder) for word in test.command], env=environment,
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

    def status_kib(self, name):
        """VmRSS or VmHWM, which only a server that lives has."""
        value = machine.field("/proc/%d/status" % self.process.pid, name)
        if not value:
            raise Failure("the server is gone: %s" % self.last_words())
        return int(value.split()[0])

    def rest(self, pauses):
        """{seconds: KiB} after each of the pauses, which count from now."""
        begin, after = time.monotonic(), {}
        for pause in pauses:
            time.sleep(max(0.0, begin + pause - time.monotonic()))
            after[str(pause)] = self.status_kib("VmRSS")
        return after

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
    server = Server(test, contender.preload_for(test, tools.libc),
                    {**test.variables, **contender.variables})
    try:
        server.wait_until_up()
        begin = time.monotonic()
        test.load(server.socket, tools.timeout)
        wall = time.monotonic() - begin
        steady = server.status_kib("VmRSS")
        if test.forget:
            test.forget(server.socket, tools.timeout)
        after = server.rest(tools.pauses)
        peak = server.status_kib("VmHWM")
        usage = server.end()
    finally:
        server.close()
    return {"status": 0, "wall_s": wall, "user_s": usage.ru_utime, "sys_s": usage.ru_stime,
            "peak_kib": peak, "steady_kib": steady, "after_kib": after,
            "minor_faults": usage.ru_minflt, "switches": usage.ru_nvcsw + usage.ru_nivcsw}


def client_run(command, timeout):
    """A client program, whose failure is the run's."""
    try:
        ran = subprocess.run(command, env=clean_environment({}), capture_output=True,
                             text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Failure("the client did not finish in %d s" % timeout) from None
    if ran.returncode or "rror" in ran.stdout + ran.stderr:
        raise Failure("the client failed: %s" % (ran.stdout + ran.stderr).strip()[-200:])


def redis_load(client, requests):
    """A load of redis-benchmark's own commands with values of three lengths."""
    def load(path, timeout):
        for length, tests in ((40, "set,lpush,hset"), (400, "set,sadd,get"), (3000, "set,lpop")):
            command = [client, "-s", path, "-q", "-n", str(requests), "-r", "20000", "-c", "16",
                       "-P", "16", "-d", str(length), "-t", tests]
            client_run(command, timeout)
    return load


def redis_forget(client):
    def forget(path, timeout):
        client_run([client, "-s", path, "FLUSHALL", "SYNC"], timeout)
    return forget


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


NGINX_FILES = 40
NGINX_PIPELINE = 40
NGINX_CONNECTIONS = 8


def nginx_prepare(template):
    """Writes the configuration and the files that nginx serves into the run's folder."""
    def prepare(folder):
        os.mkdir(os.path.join(folder, "www"))
        for number in range(NGINX_FILES):
            name = os.path.join(folder, "www", "%d" % number)
            with open(name + ".txt", "w", encoding="ascii") as file:
                file.writelines("line %d of file %d\n" % (i * 7919 % 1000, number)
                                for i in range(number * number // 4 + 1))
            with open(name + ".html", "w", encoding="ascii") as file:
                file.writelines('<p><!--#set var="v%d" value="%d" --><!--#echo var="v%d" -->'
                                '<!--#include virtual="/%d.txt" -->\n' % (i, number, i, i)
                                for i in range(number % 8))
        with open(template, encoding="utf-8") as file:
            text = file.read().replace("@FOLDER@", folder)
        with open(os.path.join(folder, "nginx.conf"), "w", encoding="utf-8") as file:
            file.write(text)
    return prepare


def nginx_requests(turn):
    """A pipeline of requests of all kinds; the last one has the connection closed."""
    kinds = ("/%d.txt", "/packed/%d.txt", "/whole/%d.html", "/again/%d.txt")
    lines = []
    for i in range(NGINX_PIPELINE):
        path = kinds[(i + turn) % len(kinds)] % ((i * 7 + turn) % NGINX_FILES)
        lines.append("GET %s HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n"
                     "User-Agent: %s\r\n%s\r\n" % (
                         path, "x" * (20 + i * turn % 200),
                         "Connection: close\r\n" if i == NGINX_PIPELINE - 1 else ""))
    return "".join(lines).encode("ascii")


def read_to_end(connection):
    pieces = []
    while True:
        piece = connection.recv(1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def nginx_load(turns):
    """Lots of connections at once, a pipeline of requests on each, again and again."""
    requests = [nginx_requests(turn) for turn in range(16)]

    def load(path, timeout):
        try:
            for turn in range(turns):
                with contextlib.ExitStack() as stack:
                    lot = [stack.enter_context(socket.socket(socket.AF_UNIX))
                           for _ in range(NGINX_CONNECTIONS)]
                    for connection in lot:
                        connection.settimeout(timeout)
                        connection.connect(path)
                        connection.sendall(requests[turn % len(requests)])
                    for connection in lot:
                        good = read_to_end(connection).count(b"HTTP/1.1 200 OK")
                        if good != NGINX_PIPELINE:
                            raise Failure("%d of %d requests were answered" %
                                          (good, NGINX_PIPELINE))
        except OSError as error:
            raise Failure("the client failed: %s" % error) from None
    return load
