"""A guest machine: QEMU under software emulation, and what one can do with it.

Two serial ports: the console, which is kept as a log, and one on which the guest's init takes
commands (guest/init). Memory is plugged in and out by the machine protocol (qmp.py).
"""

import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import image
import qmp

QEMU = "qemu-system-x86_64"
# Ends what hangs: emulation beside other work is slow, and no test depends on time.
LIMIT = 600
LOST = "?lost"  # what init answers when a part of a command did not arrive
# The last three: a machine that has no time for its guest is no fault of the guest's clock or CPUs.
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable " \
                 "no_timer_check nosoftlockup rcupdate.rcu_cpu_stall_suppress=1"


class GuestError(Exception):
    """The guest died, hung, or a command in it did not do what it must."""


class Guest:
    """Boots at once. `kernel` and `initramfs` as image.py makes them."""

    def __init__(self, shape, kernel, initramfs, options="", interactive=False):
        self.shape = shape
        self.place = tempfile.mkdtemp(prefix="slabnode-vm-")
        self.log = os.path.join(self.place, "console")
        self.dimms = {}
        self.nr_dimms = 0
        self.rest = b""
        argv = self.command_line(kernel, initramfs, options, interactive)
        self.process = subprocess.Popen(argv, stdin=None if interactive else subprocess.DEVNULL)
        self.qmp = self.port = None
        if not interactive:
            self.connect()

    def command_line(self, kernel, initramfs, options, interactive):
        if shutil.which(QEMU) is None:
            raise image.Unavailable(f"{QEMU} is not installed")
        cmdline = f"{KERNEL_OPTIONS} {self.shape.options} {options}" + (" vm.shell" if interactive else "")
        console = "mon:stdio" if interactive else f"file:{self.log}"
        # tcg,thread=multi: a thread for each CPU of the guest, so that races are real ones.
        return [QEMU, "-accel", "tcg,thread=multi", "-machine", "pc", "-cpu", "max,la57=off",
                "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-kernel", kernel.image(), "-initrd", initramfs, "-append", cmdline,
                "-serial", console,
                "-serial", f"unix:{self.place}/port,server=on,wait=off",
                "-qmp", f"unix:{self.place}/qmp,server=on,wait=off"] + self.shape.arguments()

    def connect(self):
        try:
            self.qmp = qmp.Qmp(os.path.join(self.place, "qmp"), LIMIT)
            self.port = socket.socket(socket.AF_UNIX)
            self.port.connect(os.path.join(self.place, "port"))
            line = ""
            while not line.startswith("ready "):
                line = self.line(time.monotonic() + LIMIT)
        except (OSError, qmp.QmpError, GuestError) as e:
            problem = f"{e}\n{self.console()}"
            self.end()
            raise GuestError(f"the guest did not start: {problem}") from e

    # --- commands ---

    def line(self, deadline):
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                raise GuestError("no answer in time")
            piece = self.port.recv(65536)
            if not piece:
                raise GuestError("the guest is gone")
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def attempt(self, command, timeout=LIMIT, show=None):
        """(status, output) of a shell command in the guest; `show` gets each line as it comes."""
        token = secrets.token_hex(8)
        command = " ".join(command.split("\n")).strip()
        sent = f"{token} {len(command)} {command}\n".encode()
        self.port.sendall(sent)
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            try:
                line = self.line(deadline)
            except GuestError as e:
                raise GuestError(f"{e}: {command}\n" + "\n".join(lines[-20:])) from e
            if line == LOST:
                self.port.sendall(sent)
                continue
            if line.startswith(token):
                # Init wrote a newline first, which ends a last line that had none.
                if lines and lines[-1] == "":
                    lines.pop()
                return int(line.split()[1]), "\n".join(lines)
            lines.append(line)
            if show:
                show(line)

    def run(self, command, timeout=LIMIT):
        """The output of a command that must succeed."""
        status, out = self.attempt(command, timeout)
        if status != 0:
            raise GuestError(f"status {status}: {command}\n{out}")
        return out

    def read(self, path):
        return self.run(f"cat {path}").strip()

    # --- hardware ---

    def plug(self, mib, node=None):
        """A memory module for a node, the last one unless told; its name, when its blocks are online."""
        node = len(self.shape.nodes) - 1 if node is None else node
        self.nr_dimms += 1
        name = f"dimm{self.nr_dimms}"
        before = self.blocks()
        self.qmp.command("object-add", qom_type="memory-backend-ram", id=f"mem-{name}",
                         size=mib << 20)
        self.qmp.command("device_add", driver="pc-dimm", id=name, memdev=f"mem-{name}", node=node)
        deadline = time.monotonic() + LIMIT
        while True:
            new = self.blocks() - before
            if len(new) * self.block_mib() == mib and not self.not_in_state(new, "online"):
                break
            if time.monotonic() > deadline:
                raise GuestError(f"{name}: blocks {sorted(new)} did not come online")
            time.sleep(0.1)
        self.dimms[name] = new
        return name

    def blocks(self):
        out = self.run("cd /sys/devices/system/memory && echo memory[0-9]*")
        return {int(name[6:]) for name in out.split()}

    def block_mib(self):
        return int(self.read("/sys/devices/system/memory/block_size_bytes"), 16) >> 20

    def not_in_state(self, blocks, state):
        """Which of the memory blocks are not in that state."""
        files = " ".join(f"/sys/devices/system/memory/memory{b}/state" for b in sorted(blocks))
        states = self.run(f"cat {files}").split() if blocks else []
        return [b for b, s in zip(sorted(blocks), states) if s != state]

    def offline_blocks(self, dimm, timeout=LIMIT):
        """Has the kernel take the module's blocks offline; those that it would not."""
        refused = []
        for block in sorted(self.dimms[dimm]):
            path = f"/sys/devices/system/memory/memory{block}/state"
            if self.attempt(f"echo offline > {path}", timeout)[0] != 0:
                refused.append(block)
        return refused

    def unplug(self, dimm, timeout=LIMIT):
        """Takes a module out; False when the guest did not let it go."""
        self.qmp.command("device_del", id=dimm)
        gone = self.qmp.event("DEVICE_DELETED", timeout, device=dimm) is not None
        if gone:
            self.qmp.command("object-del", id=f"mem-{dimm}")
            del self.dimms[dimm]
        return gone

    # --- the end ---

    def console(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-40:])
        except OSError:
            return ""

    def end(self):
        for connection in (self.qmp, self.port):
            if connection is not None:
                connection.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
