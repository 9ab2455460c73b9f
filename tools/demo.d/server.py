"""The processes of the demo: redis-server under libslabnode.so, redis-benchmark, hotplugctl. All
live in a private run directory and die with the demo, however it ends."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import resp

TOPOLOGY = "synthetic:node:4 core:2 pu:1"
CAPACITY = "512M"
BACKGROUND_DATABASE = 4
_PR_SET_PDEATHSIG = 1
# sun_path holds 107 characters; the names below need 40 of them.
_LONGEST_DIRECTORY = 60


class Failure(Exception):
    """The demo cannot go on."""


def _die_with_parent():
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_directory():
    place = os.environ.get("TMPDIR", "/tmp")
    if len(place) > _LONGEST_DIRECTORY or not os.access(place, os.W_OK):
        place = "/tmp"
    return tempfile.mkdtemp(prefix="slabnode-demo.", dir=place)


class Machine:
    """The server with all that belongs to it."""

    def __init__(self, build):
        self.build = build
        self.directory = run_directory()
        self.socket = os.path.join(self.directory, "redis.sock")
        self.server = None
        self.background = []
        self.environment = {name: text for name, text in os.environ.items()
                            if not name.startswith(("SLABNODE_", "LD_"))}
        self.environment["SLABNODE_RUNDIR"] = os.path.join(self.directory, "control")

    def tool(self, name):
        return os.path.join(self.build, "tools", name)

    def start(self, command, log, **variables):
        with open(os.path.join(self.directory, log), "ab") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                    env={**self.environment, **variables}, cwd=self.directory,
                                    start_new_session=True, preexec_fn=_die_with_parent)

    def start_server(self):
        command = [self.tool("slabnode-run"), "--topology", TOPOLOGY, "--node-capacity", CAPACITY,
                   "--", "redis-server", "--port", "0", "--unixsocket", self.socket,
                   "--io-threads", "4", "--save", "", "--appendonly", "no",
                   "--dir", self.directory, "--slowlog-log-slower-than", "-1",
                   "--loglevel", "notice"]
        self.server = self.start(command, "redis.log", SLABNODE_CONTROL="on")
        self.wait_until_it_answers()

    def wait_until_it_answers(self):
        end = time.monotonic() + 15
        while time.monotonic() < end and self.server.poll() is None:
            try:
                with resp.Client(self.socket, 0) as client:
                    client.ask(resp.command(b"PING"))
                status, _ = self.ask("list")
                if status == 0:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Failure("redis-server did not come up under the library:\n" + self.log_end())

    def log_end(self):
        with open(os.path.join(self.directory, "redis.log"), errors="replace") as file:
            return "".join(file.readlines()[-15:])

    def start_background(self, connections):
        """Pressure from redis's own benchmark: writes and reads, until it is stopped."""
        command = ["redis-benchmark", "-s", self.socket, "-t", "set,get,incr,lpush,lpop",
                   "-n", "20000", "-r", "20000", "-d", "300", "-c", str(connections), "-P", "16",
                   "-l", "-q", "--dbnum", str(BACKGROUND_DATABASE)]
        self.background.append(self.start(command, "benchmark.log"))

    def stop_background(self):
        """The exit codes of those that had ended before their time: they met an error."""
        ended = [process.returncode for process in self.background if process.poll() is not None]
        for process in self.background:
            end(process)
        self.background = []
        return ended

    def control(self, *words, as_json=False):
        """Starts hotplugctl with our process as its target."""
        command = [self.tool("hotplugctl"), "-p", str(self.server.pid)]
        command += ["--json"] if as_json else []
        return subprocess.Popen(command + list(words), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=self.environment, preexec_fn=_die_with_parent)

    def ask(self, *words, as_json=False, timeout=30):
        return finished(self.control(*words, as_json=as_json), timeout)

    def nodes(self):
        status, text = self.ask("status", as_json=True)
        if status:
            raise Failure("hotplugctl status: exit code %d: %s" % (status, text))
        return {row["node"]: row for row in json.loads(text)["nodes"]}

    def information(self, section):
        """Redis's own INFO, as a dictionary."""
        with resp.Client(self.socket, 0) as client:
            reply = client.ask(resp.command(b"INFO", section.encode()))[0].decode()
        return dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)

    def clean_up(self):
        self.stop_background()
        if self.server:
            end(self.server)
        shutil.rmtree(self.directory, ignore_errors=True)


def end(process):
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def finished(process, timeout):
    """(exit code, output) of a hotplugctl; one that hangs is ended and answers 124."""
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        return 124, text + "(no end after %d s)" % timeout
    return process.returncode, text
