"""QEMU's machine protocol: one JSON object a line, answers in order, events in between."""

import json
import socket
import time


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    """One connection. Events that arrive while an answer is waited for are kept in order.

    QEMU greets, and takes nothing but qmp_capabilities then. Whom it finds connected while it starts
    it may greet twice, and forget what was negotiated in between: greetings may stand anywhere."""

    def __init__(self, path, timeout):
        deadline = time.monotonic() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.rest = b""
        self.events = []
        self.command("qmp_capabilities", timeout)

    def message(self, timeout):
        """The next object, or None when none came in time."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                piece = self.socket.recv(65536)
            except socket.timeout:
                return None
            if not piece:
                raise QmpError("QEMU closed its machine protocol")
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, timeout=300, **arguments):
        """What QEMU returns. An underscore in a name stands for the hyphen that QEMU writes."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + timeout
        while True:
            answer = self.message(deadline - time.monotonic())
            if answer is None:
                raise QmpError(f"{name}: no answer after {timeout} s")
            if "event" in answer:
                self.events.append(answer)
            elif "QMP" in answer:
                continue
            elif "error" in answer and answer["error"]["desc"].startswith("Expecting capabilities"):
                self.command("qmp_capabilities", timeout)
                return self.command(name, timeout, **arguments)
            elif "error" in answer:
                raise QmpError(f"{name}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def event(self, name, timeout, **data):
        """The next event of that name and with these data; earlier others are dropped.

        None when it did not come in time."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.events.pop(0) if self.events else self.message(deadline - time.monotonic())
            if event is None:
                return None
            if event.get("event") == name and all(
                    event.get("data", {}).get(k) == v for k, v in data.items()):
                return event

    def close(self):
        self.socket.close()
