"""What the clients of long-running servers do in a round; they check every answer."""

import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "programs"))

import servers  # noqa: E402


def redis(port, _):
    servers.redis_load(port, 5000)
    servers.redis_verify(port, 5000)
    servers.redis_save(port)
    servers.redis_cli(port, "FLUSHALL")
    return "every key"


def memcached(port, _):
    errors = []
    clients = [threading.Thread(target=servers.memcached_client, args=(port, k, 500, errors))
               for k in range(4)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    return "; ".join(errors) or "every value"


def http(port, folder):
    page = os.path.join(folder, "root", "large")
    body = servers.value(39).encode() * 40
    if not os.path.exists(page):
        with open(page, "wb") as f:
            f.write(body)
    errors = []
    clients = [threading.Thread(target=servers.http_get, args=(port, path, want, errors))
               for path, want in (("/small", b"a small page"), ("/large", body)) * 2]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    return "; ".join(errors) or "every body"


TABLES = """
create database if not exists d; use d; drop table if exists t;
create table t (id int primary key, name varchar(40), body blob, key (name)) engine=innodb;
insert into t select seq, concat('name', seq * 7919 % 1009), repeat('b', seq % 200) from seq_1_to_5000;
update t set name = concat(name, 'x') where id % 7 = 0; delete from t where id % 11 = 0;
select count(*), sum(length(body)), min(name), max(name), sum(crc32(name)) from t;
select sum(n) from (select name, count(*) n from t group by name order by n desc, name limit 50) q;
"""


def mariadb(_, folder):
    done = subprocess.run(["mariadb", "--no-defaults", "-N", "-S", os.path.join(folder, "s")],
                          input=TABLES, capture_output=True, text=True, timeout=300)
    return done.stderr.replace("\n", " ") or done.stdout.replace("\n", " ")


def main():
    """clients.py NAME PORT FOLDER: round after round, a line each."""
    work, port, folder = globals()[sys.argv[1]], int(sys.argv[2]), sys.argv[3]
    while True:
        print(work(port, folder), flush=True)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
