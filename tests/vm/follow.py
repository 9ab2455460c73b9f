"""Following the kernel: nodes that come after a program started, `hotplugctl follow`, and offlines of
heaps and kernel in one (`--kernel`)."""

import ask

NODE = 2
MIB = 256


def server(guest, name="redis", port=7000):
    """Redis, with no preference: it uses nodes 0 and 1."""
    program = ask.Program(guest, f"redis-server --port {port} --save '' --appendonly no "
                          "--daemonize no", name)
    guest.run(f"for i in $(seq 100); do hotplugctl -p {program.pid} status >/dev/null 2>&1 && "
              "exit 0; sleep 0.2; done; exit 1")
    return program


def fill(guest, port, count=40000):
    """Some 20 MiB of values."""
    guest.run(f"redis-cli -p {port} eval \"for i = 1, {count} do redis.call('set', 'key' .. i, "
              "string.rep('x', 400)) end\" 0", 120)


def heap_pages(guest, pid, node=NODE):
    return ask.pages(guest, pid)["heap", node].move_pages


def comes_later(guest):
    """A node that is plugged in under a running program is used without a restart."""
    program = server(guest)
    code, out = guest.attempt(f"hotplugctl -p {program.pid} online {NODE}")
    assert code == 3 and "ENODEV" in out, f"before it is there: exit {code}: {out}"
    dimm = guest.plug(MIB)
    assert NODE not in ask.status(guest, program.pid), "it was known before it was named"
    ask.control(guest, program.pid, f"online {NODE}")
    row = ask.status(guest, program.pid)[NODE]
    assert row["state"] == "online", f"node {NODE} is {row['state']}"
    for node in (0, 1):
        ask.control(guest, program.pid, f"cordon {node}")
    fill(guest, 7000)
    used = heap_pages(guest, program.pid)
    assert used > 4000, f"only {used} pages came to node {NODE}"
    for node in (0, 1):
        ask.control(guest, program.pid, f"uncordon {node}")
    ask.control(guest, program.pid, f"offline {NODE}")
    assert heap_pages(guest, program.pid) == 0
    assert not guest.offline_blocks(dimm) and guest.unplug(dimm)
    guest.run(f"kill {program.pid}")
    assert program.finish() == 0, program.output()
    return f"{used} pages on the new node"


PROGRAMS = ["/usr/bin/redis-server", "/usr/bin/redis-cli"]
TESTS = [comes_later]
