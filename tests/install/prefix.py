"""What `meson install` puts into place, in a directory of its own, and processes that run with it.

Used by the rows of this folder and by those that try the examples.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TEST_BUILD", SOURCE / "build")).resolve()
FOUR_NODES = "synthetic:node:4 core:2 pu:1"


def fail(*lines):
    print("\n".join(str(x) for x in lines))
    sys.exit(1)


def skip(reason):
    print(f"skip: {reason}")
    sys.exit(77)


def run(argv, env=None, **how):
    """A command that has to succeed; its output."""
    how.setdefault("timeout", 120)
    done = subprocess.run([str(x) for x in argv], env=env, capture_output=True, text=True,
                          check=False, **how)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, argv))}: status {done.returncode}", done.stdout, done.stderr)
    return done.stdout


class Prefix:
    """An installation below a directory, used as if the directory were the root."""

    def __init__(self, root):
        options = {o["name"]: o["value"] for o in
                   json.loads(run(["meson", "introspect", "--buildoptions", BUILD]))}
        self.root = pathlib.Path(root)
        self.configured = pathlib.Path(options["prefix"])
        self.top = self.root / self.configured.relative_to("/")
        self.bin = self.top / options["bindir"]
        self.lib = self.top / options["libdir"]
        self.share = self.top / options["datadir"]
        self.hotplugctl = self.bin / "hotplugctl"
        self.slabnode_run = self.bin / "slabnode-run"
        self.rundir = self.root / "run"

    def install(self):
        run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", self.root])

    def env(self, **more):
        """As on a machine where it is installed: tools, pages, pkg-config and the loader find it."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("SLABNODE")}
        env.update(PATH=f"{self.bin}:{env.get('PATH', '/usr/bin:/bin')}",
                   PKG_CONFIG_SYSROOT_DIR=str(self.root),
                   PKG_CONFIG_LIBDIR=str(self.lib / "pkgconfig"),
                   LD_LIBRARY_PATH=str(self.lib), MANPATH=str(self.share / "man"),
                   SLABNODE_RUNDIR=str(self.rundir), SLABNODE_TOPOLOGY=FOUR_NODES)
        env.update(more)
        return env

    def flags(self, *what):
        return run(["pkg-config", *what, "slabnode"], env=self.env()).split()

    @contextlib.contextmanager
    def process(self, *argv, **env):
        """A process with the library that answers by the time the body runs."""
        program = subprocess.Popen([str(self.slabnode_run), "--", *argv], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, env=self.env(SLABNODE_CONTROL="on", **env))
        try:
            end = time.monotonic() + 20
            while not (self.rundir / f"{program.pid}.sock").exists():
                if program.poll() is not None or time.monotonic() > end:
                    fail(f"{argv} has no control socket")
                time.sleep(0.02)
            yield program
        finally:
            program.kill()
            program.wait()


@contextlib.contextmanager
def installed():
    if not (BUILD / "preload" / "libslabnode.so").exists():
        skip("the library is not built")
    directory = tempfile.mkdtemp(prefix="slabnode-install-")
    try:
        prefix = Prefix(directory)
        prefix.install()
        yield prefix
    finally:
        shutil.rmtree(directory, ignore_errors=True)
