"""Servers under load from clients that check every answer."""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import subject
from subject import Server, fail, free_port, need


# The run directory of a storm is root's: a server that becomes another user has no socket there.
STAY_ROOT = subject.MODE == "storm" and os.geteuid() == 0


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def accepts(port):
    try:
        connect(port).close()
        return True
    except OSError:
        return False


def check_mapped(server):
    if subject.SUBJECT_ENV and "libslabnode.so" not in server.maps():
        fail("the server does not run under the library")


def redis_cli(port, *args, stdin=b""):
    done = subprocess.run(["redis-cli", "-p", str(port), *args], input=stdin, capture_output=True,
                          timeout=120)
    if done.returncode:
        fail(f"redis-cli {args}", done.stdout, done.stderr)
    return done.stdout


def value(i):
    return hashlib.sha256(str(i).encode()).hexdigest() * (i % 40 + 1)


def protocol(*words):
    out = [f"*{len(words)}\r\n".encode()]
    for w in words:
        b = str(w).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(b), b))
    return b"".join(out)


def redis_load(port, n):
    """Keys of every type, sent in the protocol's own bulk form."""
    parts = []
    for i in range(n):
        parts.append(protocol("SET", f"s{i}", value(i)))
        parts.append(protocol("HSET", f"h{i % 300}", f"f{i}", value(i)[:100]))
        parts.append(protocol("RPUSH", f"l{i % 100}", value(i)[:50]))
        parts.append(protocol("ZADD", f"z{i % 50}", i, f"m{i}"))
        if i % 3 == 0:
            parts.append(protocol("SET", f"s{i}", value(i + 1)))
        if i % 5 == 0:
            parts.append(protocol("DEL", f"s{i}"))
    out = redis_cli(port, "--pipe", stdin=b"".join(parts))
    if b"errors: 0," not in out:
        fail("redis-cli --pipe", out)


def redis_verify(port, n):
    sock = connect(port)
    f = sock.makefile("rwb")
    for i in range(n):
        f.write(protocol("GET", f"s{i}"))
    f.flush()
    for i in range(n):
        head = f.readline()
        want = None if i % 5 == 0 else value(i + 1) if i % 3 == 0 else value(i)
        if want is None:
            if head != b"$-1\r\n":
                fail(f"s{i} should be gone", head)
        else:
            got = f.read(int(head[1:]) + 2)[:-2] if head.startswith(b"$") else head
            if got.decode() != want:
                fail(f"s{i} differs", got)
    sock.close()
    for key, want in (("h7", n // 300 + (n % 300 > 7)), ("l9", n // 100), ("z3", n // 50)):
        command = {"h": "HLEN", "l": "LLEN", "z": "ZCARD"}[key[0]]
        if int(redis_cli(port, command, key)) != want:
            fail(f"{command} {key} is not {want}")


def redis_save(port):
    redis_cli(port, "BGSAVE")
    for _ in range(600):
        info = redis_cli(port, "INFO", "persistence")
        if b"rdb_bgsave_in_progress:0" in info:
            if b"rdb_last_bgsave_status:ok" not in info:
                fail("the background save failed", info)
            return
        # Writes while the child saves are what forking servers live on.
        redis_cli(port, "SET", "while-saving", "x" * 1000)
        time.sleep(0.05)
    fail("the background save does not end")


def redis():
    need("redis-server", "redis-cli", "redis-benchmark")
    n = 30000
    with tempfile.TemporaryDirectory() as cwd:
        port = free_port()
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                "--dir", cwd, "--dbfilename", "dump.rdb", "--appendonly", "no",
                "--daemonize", "no"]
        with Server(argv, cwd, lambda: accepts(port)) as server:
            check_mapped(server)
            redis_load(port, n)
            load = subprocess.Popen(["redis-benchmark", "-p", str(port), "-n", "60000", "-q", "-c",
                                     "20", "-r", "5000", "-d", "300", "-t", "set,get,lpush,lpop,mset"],
                                    stdout=subprocess.DEVNULL)
            redis_save(port)
            redis_save(port)
            if load.wait(timeout=240) != 0:
                fail("redis-benchmark saw errors", server.text())
            redis_cli(port, "BGREWRITEAOF")
            redis_verify(port, n)
            redis_cli(port, "FLUSHALL", "ASYNC")
            redis_load(port, n)
            redis_save(port)
        # What was saved under the library is read back under it by a new process.
        with Server(argv, cwd, lambda: accepts(port)) as server:
            for _ in range(200):
                if b"\nloading:0" in redis_cli(port, "INFO", "persistence"):
                    break
                time.sleep(0.05)
            redis_verify(port, n)


def memcached_client(port, who, count, errors):
    try:
        f = connect(port).makefile("rwb")
        for i in range(count):
            key, data = f"k{who}-{i}", value(i + who).encode()
            f.write(f"set {key} 0 0 {len(data)}\r\n".encode() + data + b"\r\n")
            f.flush()
            if f.readline() != b"STORED\r\n":
                raise ValueError(f"set {key}")
            back = i - 50
            if back >= 0:
                want = value(back + who).encode()
                f.write(f"get k{who}-{back}\r\n".encode())
                f.flush()
                head = f.readline().split()
                if len(head) != 4 or f.read(int(head[3]) + 2)[:-2] != want:
                    raise ValueError(f"get k{who}-{back}")
                f.readline()
    except (OSError, ValueError) as e:
        errors.append(str(e))


def memcached():
    need("memcached")
    with tempfile.TemporaryDirectory() as cwd:
        port = free_port()
        argv = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "4", "-m", "256"]
        if os.geteuid() == 0:
            argv += ["-u", "root" if STAY_ROOT else "nobody"]
        with Server(argv, cwd, lambda: accepts(port)) as server:
            check_mapped(server)
            errors = []
            clients = [threading.Thread(target=memcached_client, args=(port, k, 3000, errors))
                       for k in range(6)]
            for c in clients:
                c.start()
            for c in clients:
                c.join()
            if errors:
                fail("memcached: " + "; ".join(errors), server.text())


NGINX = """
{user} daemon off; master_process on; worker_processes 2; pid {d}/pid; error_log {d}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f;
    uwsgi_temp_path {d}/u; scgi_temp_path {d}/s; gzip on; gzip_min_length 1;
    gzip_types text/plain;
    server {{ listen 127.0.0.1:{port}; root {d}/root; default_type text/plain; }}
}}
"""


def http_get(port, path, want, errors):
    try:
        for _ in range(200):
            s = connect(port)
            s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            data = b""
            while chunk := s.recv(65536):
                data += chunk
            s.close()
            if data.partition(b"\r\n\r\n")[2] != want:
                raise ValueError(path)
    except (OSError, ValueError) as e:
        errors.append(str(e))


def nginx():
    need("nginx")
    with tempfile.TemporaryDirectory() as cwd:
        os.chmod(cwd, 0o755)
        port = free_port()
        os.mkdir(os.path.join(cwd, "root"))
        bodies = {}
        for i in range(8):
            bodies[f"/f{i}"] = value(i).encode() * (i * 40 + 1)
            with open(os.path.join(cwd, "root", f"f{i}"), "wb") as f:
                f.write(bodies[f"/f{i}"])
        conf = os.path.join(cwd, "nginx.conf")
        user = "user root;" if STAY_ROOT else ""
        with open(conf, "w", encoding="utf-8") as f:
            f.write(NGINX.format(d=cwd, port=port, user=user))
        with Server(["nginx", "-c", conf], cwd, lambda: accepts(port)) as server:
            check_mapped(server)
            errors = []
            threads = [threading.Thread(target=http_get, args=(port, p, b, errors))
                       for p, b in bodies.items()]
            for t in threads:
                t.start()
            for _ in range(3):
                time.sleep(0.2)
                server.proc.send_signal(1)  # SIGHUP: new workers, old ones end
            for t in threads:
                t.join()
            if errors:
                fail("nginx: " + "; ".join(errors), server.text())


CASES = {"redis": redis, "memcached": memcached, "nginx": nginx}
