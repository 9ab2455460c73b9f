#!/usr/bin/python3
"""Asks a process that runs with slabnode: client.py SOCKET COMMAND [ARGUMENT...]"""
import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall((" ".join(sys.argv[2:]) + "\n").encode())
    for line in connection.makefile():
        reply = json.loads(line)
        if "progress" in reply:
            print("progress:", reply["progress"], file=sys.stderr)
        elif "ok" in reply:  # neither progress nor the hello that comes first: the answer
            break
    else:
        sys.exit("the process has ended")
print(json.dumps(reply, indent=1))
sys.exit(0 if reply["ok"] else reply["error"])
