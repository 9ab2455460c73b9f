"""What the tests of hotplugctl share: mock processes, and running the tool.

The tools are taken from TEST_BUILD (a build directory; the harness sets it), by default build/ of
this tree.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TEST_BUILD", HERE.parent.parent / "build")).resolve()
HOTPLUGCTL = BUILD / "tools" / "hotplugctl"
SLABNODE_RUN = BUILD / "tools" / "slabnode-run"
ROOT = HERE.parent.parent


def clean_environment(**more):
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith("SLABNODE_") and k not in ("XDG_RUNTIME_DIR", "LD_PRELOAD")}
    return {**kept, **more}


class MockCase(unittest.TestCase):
    """Starts mocks in a directory of its own and ends them."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hotplugctl-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.library = self.directory / "libslabnode.so"
        self.library.write_bytes(b"mapped only\n" * 400)
        self.rundir = self.directory / "run"

    def start(self, *options, environment=None, rundir=None):
        rundir = rundir or self.rundir
        env = clean_environment(SLABNODE_RUNDIR=str(rundir))
        env.update(environment or {})
        mock = subprocess.Popen([sys.executable, HERE / "mock_server.py", self.library, rundir,
                                 *options], env=env, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, mock)
        self.assertEqual(mock.stdout.readline(), "ready\n")
        return mock

    @staticmethod
    def end(mock):
        if mock.poll() is None:
            os.kill(mock.pid, signal.SIGCONT)
            mock.kill()
        mock.wait()
        mock.stdout.close()

    def run_tool(self, *arguments, timeout=30, **environment):
        return subprocess.run([HOTPLUGCTL, *map(str, arguments)], capture_output=True, text=True,
                              timeout=timeout, env=clean_environment(**environment), check=False)

    def expect(self, code, *arguments, **environment):
        done = self.run_tool(*arguments, **environment)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def expect_json(self, code, *arguments):
        done = self.expect(code, "--json", *arguments)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)
