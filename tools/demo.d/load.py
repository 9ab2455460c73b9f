"""The live load: a process of its own with several connections that write, overwrite and read
back, pipelined, as fast as the server answers, and compare every reply byte by byte.

A connection owns its part of the live keyspace, so it knows the version of each of its keys;
others read the archive, whose keys never change. The counters stand in memory shared with the
narrator. A request's latency is counted from the sending of its batch to the last reply of the
batch, so what is shown is an upper bound, and includes this client's own time. With the longest
stands how long the server's main thread and this client were ready to run meanwhile and had no CPU:
on a busy machine that is most of it."""

import ctypes
import mmap
import os
import random
import select
import signal
import socket
import time

import resp
import values

PHASES = 64
BATCH = 24
SILENCE = 10.0
# A connection is closed and made again after so many batches, as clients of a real server do.
LIFETIME = 400
COMPLAINTS = 5
# How old the last look at the scheduler's figures may be when a batch begins.
LOOK_INTERVAL = 0.005


class Counters(ctypes.Structure):
    _fields_ = [
        ("requests", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
        ("wrong", ctypes.c_uint64),
        ("phase", ctypes.c_uint32),
        ("stop", ctypes.c_uint32),
        ("slowest", ctypes.c_double * PHASES),
        ("waited", ctypes.c_double * PHASES),
    ]

    @classmethod
    def shared(cls):
        return cls.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))


class Scheduler:
    """For how long some processes' main threads have waited for a CPU, by the kernel's count."""

    def __init__(self, processes):
        self.files = []
        for process in processes:
            try:
                path = "/proc/%d/task/%d/schedstat" % (process, process)
                self.files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                pass  # a kernel without these figures: nothing is told
        self.looked = 0.0
        self.last = 0.0

    def waited(self):
        """Seconds, of all together, since they were started."""
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self.files) / 1e9

    def recent(self, now):
        if now - self.looked > LOOK_INTERVAL:
            self.looked = now
            self.last = self.waited()
        return self.last


class Connection:
    """One connection with at most one batch of requests under way."""

    def __init__(self, load, database, numbers, writes, seed):
        self.load = load
        self.database = database
        self.numbers = numbers
        self.writes = writes
        self.random = random.Random(seed)
        self.versions = dict.fromkeys(numbers, 0 if writes else 1)
        self.socket = None
        self.connect()

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(self.load.path)
        self.socket.setblocking(False)
        self.load.poll.register(self.socket, select.EPOLLIN)
        self.load.connections[self.socket.fileno()] = self
        self.batches = 0
        self.send([(resp.command(b"SELECT", b"%d" % self.database), resp.OK)])

    def disconnect(self):
        self.load.poll.unregister(self.socket)
        del self.load.connections[self.socket.fileno()]
        self.socket.close()

    def write(self, number):
        """The version counts up when the request is made: replies keep the order of requests."""
        self.versions[number] += 1
        text = values.value(self.database, number, self.versions[number])
        return resp.command(b"SET", values.key(self.database, number), text), resp.OK

    def read(self, number):
        version = self.versions[number]
        expected = resp.NOTHING
        if version:
            expected = resp.bulk(values.value(self.database, number, version))
        return resp.command(b"GET", values.key(self.database, number)), expected

    def request(self):
        number = self.random.choice(self.numbers)
        if self.writes and self.random.random() < 0.4:
            return self.write(number)
        return self.read(number)

    def send(self, pairs):
        self.expected = [expected for _, expected in pairs]
        self.whole = b"".join(self.expected)
        self.received = b""
        self.differs = False
        self.unsent = b"".join(request for request, _ in pairs)
        self.since = time.monotonic()
        self.waited = self.load.scheduler.recent(self.since)
        self.push()

    def push(self):
        """Sends what the socket takes; the rest follows when the poll says so."""
        try:
            sent = self.socket.send(self.unsent)
        except BlockingIOError:
            sent = 0
        self.unsent = self.unsent[sent:]
        events = select.EPOLLIN | (select.EPOLLOUT if self.unsent else 0)
        self.load.poll.modify(self.socket, events)

    def ready(self, events):
        if events & select.EPOLLOUT and self.unsent:
            self.push()
        if not events & ~select.EPOLLOUT:
            return
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        start = len(self.received)
        self.received += data
        self.differs |= data != self.whole[start:start + len(data)]
        if self.differs:
            # Replies of other lengths may have come: an error, or a wrong value.
            if self.compare(self.received):
                self.finish()
        elif len(self.received) == len(self.whole):
            self.finish()

    def finish(self):
        self.load.count(len(self.expected), time.monotonic() - self.since, self.waited)
        self.batches += 1
        if self.batches == LIFETIME:
            self.disconnect()
            self.connect()
        else:
            self.send([self.request() for _ in range(BATCH)])

    def compare(self, data):
        """Counts what differs. False while replies are missing."""
        replies, end = [], 0
        while len(replies) < len(self.expected):
            after = resp.next_reply(data, end)
            if after is None:
                return False
            replies.append(data[end:after])
            end = after
        for reply, expected in zip(replies, self.expected):
            if reply.startswith(b"-"):
                self.load.fail("error reply: %r" % reply[:200], 1)
            elif reply != expected:
                self.load.differ("database %d: expected %r, got %r"
                                 % (self.database, expected[:40], reply[:40]))
        return True

    def overdue(self, now):
        """No answer at all is a failure of the whole batch, and its keys' versions are unknown."""
        if now - self.since > SILENCE:
            raise TimeoutError("no answer for %d seconds" % SILENCE)

    def lost(self, why):
        self.load.fail("connection: %s" % why, len(self.expected))
        self.disconnect()


class Load:
    def __init__(self, counters, path, complaints, scheduler, parent):
        self.counters = counters
        self.path = path
        self.scheduler = scheduler
        self.parent = parent
        self.complaints = complaints
        self.poll = select.epoll()
        self.connections = {}
        self.complained = 0

    def count(self, requests, seconds, waited):
        """waited: the scheduler's figure when the batch began."""
        counters = self.counters
        counters.requests += requests
        if seconds > counters.slowest[counters.phase]:
            counters.slowest[counters.phase] = seconds
            waited = min(self.scheduler.waited() - waited, seconds)
            counters.waited[counters.phase] = waited

    def complain(self, text):
        """The first few; whoever reads them needs no more."""
        self.complained += 1
        if self.complained > COMPLAINTS:
            return
        with open(self.complaints, "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def fail(self, text, requests):
        self.counters.failed += requests
        self.complain(text)

    def differ(self, text):
        self.counters.wrong += 1
        self.complain(text)

    def step(self):
        for descriptor, events in self.poll.poll(0.2):
            connection = self.connections.get(descriptor)
            if connection:
                self.guarded(connection, connection.ready, events)
        now = time.monotonic()
        for connection in list(self.connections.values()):
            self.guarded(connection, connection.overdue, now)

    def guarded(self, connection, action, argument):
        try:
            action(argument)
        except (OSError, ValueError) as error:
            connection.lost(error)

    def run(self):
        while self.connections and not self.counters.stop and os.getppid() == self.parent:
            self.step()


def start(counters, path, complaints, server, live, archive, seed):
    """Forks the load. server: its process id; live: (database, keys, connections); archive: the
    same, and only read."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        scheduler = Scheduler((server, os.getpid()))
        load = Load(counters, path, complaints, scheduler, parent)
        for (database, keys, connections), writes in ((live, True), (archive, False)):
            for index in range(connections):
                part = range(index, keys, connections) if writes else range(keys)
                Connection(load, database, part, writes, seed * 1000 + index)
        load.run()
        code = 0
    except Exception as error:  # the narrator reports it
        counters.failed += 1
        with open(complaints, "a", encoding="utf-8") as file:
            file.write("the load client itself failed: %r\n" % error)
    finally:
        os._exit(code)
