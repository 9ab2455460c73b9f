"""The few words of redis's protocol that the demo speaks: building commands, the exact bytes of
the replies it expects, and taking replies apart once something else came."""

import socket

OK = b"+OK\r\n"
NOTHING = b"$-1\r\n"


class ServerError(Exception):
    pass


def command(*words):
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def next_reply(data, start):
    """Where the reply that begins at start ends; None while it is incomplete. (No arrays here.)"""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    end = line + 2
    if data[start:start + 1] == b"$" and data[start:line] != b"$-1":
        end += int(data[start + 1:line]) + 2
    return end if end <= len(data) else None


class Client:
    """A plain connection that sends a batch and waits for its replies."""

    def __init__(self, path, database):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.ask(command(b"SELECT", b"%d" % database))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, request, replies=1):
        self.socket.sendall(request)
        data, found, end = b"", [], 0
        while len(found) < replies:
            part = self.socket.recv(1 << 18)
            if not part:
                raise ServerError("the server closed the connection")
            data += part
            while (after := next_reply(data, end)) is not None:
                found.append(data[end:after])
                end = after
        for reply in found:
            if reply.startswith(b"-"):
                raise ServerError(reply[1:].decode(errors="replace").strip())
        return found
