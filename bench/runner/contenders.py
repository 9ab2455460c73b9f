# SPDX-License-Identifier: MIT
"""Who is measured: allocators by name or path, each a library and an environment."""
import glob
import hashlib
import os
import subprocess

from runner import measure

REFERENCE = "jemalloc"
DEFAULT = ["glibc", "jemalloc", "tcmalloc", "mimalloc", "slabnode"]
SONAMES = {
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2",
}
FOLDERS = ["/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
SLABNODE = os.path.join("preload", "libslabnode.so")


class Contender:
    """One allocator: `library` is what LD_PRELOAD gets, None for the program's own libc."""

    def __init__(self, name, library, variables=None):
        self.name = name
        self.library = library
        self.variables = variables or {}

    def missing(self):
        return self.library is not None and not os.path.isfile(self.library)

    def preload_for(self, test, libc):
        """glibc needs a preload too where the program links another allocator itself."""
        if self.library is None and test.links_allocator:
            return libc
        return self.library

    def describe(self):
        entry = {"name": self.name, "library": self.library, "variables": self.variables}
        if self.library and not self.missing():
            entry["file"] = os.path.basename(os.path.realpath(self.library))
            entry["package"] = package_of(self.library)
            entry["sha256"] = digest(self.library)
        return entry


def digest(path):
    """Tells one build of a library from another."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def package_of(path):
    """Debian package and version that a library came with, None if it came otherwise."""
    for candidate in (path, os.path.realpath(path)):
        try:
            owner = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True,
                                   text=True, check=False)
            if owner.returncode:
                continue
            name = owner.stdout.split(": ")[0].split(",")[0]
            shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", name],
                                   capture_output=True, text=True, check=False)
            return shown.stdout or None
        except OSError:
            return None
    return None


def find_library(soname):
    for folder in FOLDERS:
        for path in sorted(glob.glob(os.path.join(folder, soname))):
            return path
    return soname


def from_word(word, build):
    """A contender from `[LABEL=]NAME_OR_PATH[:VARIABLE=VALUE]...`."""
    head, *settings = word.split(":")
    label, _, what = head.rpartition("=")
    variables = {}
    for setting in settings:
        variable, equals, value = setting.partition("=")
        if not variable or not equals:
            raise ValueError("%s: %r is not VARIABLE=VALUE" % (word, setting))
        variables[variable] = value
    if what in ("slabnode", "slabnode-locked"):
        library = os.path.join(build, SLABNODE)
        if what == "slabnode-locked":
            variables.setdefault("SLABNODE_FASTPATH", "locked")
    elif what == "glibc":
        library = None
    elif what in SONAMES:
        library = find_library(SONAMES[what])
    elif "/" in what:
        library = os.path.abspath(what)
    else:
        raise ValueError("%s: neither a known allocator nor a path" % what)
    name = label or (os.path.basename(what) if "/" in what else what)
    if settings and not label:
        name = "%s:%s" % (name, ":".join(settings))
    return Contender(name, library, variables)


def check(contender, tools):
    """An error text unless the contender's malloc is the one a program gets."""
    try:
        found = tools.probe(contender)
    except measure.Failure as failure:
        return str(failure)
    if contender.library and found != os.path.realpath(contender.library):
        return "not in effect: malloc comes from %s" % os.path.basename(found)
    return None
