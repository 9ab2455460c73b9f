"""What a guest boots: Debian's cloud kernel and an initramfs of this build and of tools.

The kernel's package is downloaded, not installed, and unpacked beside the build; so no other kernel
than the pinned kind is ever tested, and nothing of the machine changes. The initramfs has programs of
this machine under their own paths, with the shared libraries that ldd finds, and the part of the
build that runs under /slabnode, laid out as in the build directory, so that the library finds its
modules and tests find hotplugctl.
"""

import glob
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
META_PACKAGE = "linux-image-cloud-amd64"
# Compressed memory as a swap device is the one thing that tests need and the kernel has as a module.
MODULES = ["lzo-rle", "zsmalloc", "zram"]
BUILT = ["preload/libslabnode.so", "preload/slabnode-numa.so", "tools/hotplugctl",
         "tools/slabnode-run"]
TOOLS = ["/usr/bin/numactl", "/usr/bin/migratepages"]
APPLETS_OF = "/bin/busybox"


class Unavailable(Exception):
    """Something that a guest needs cannot be had here: tests are skipped with this reason."""


def run(*argv, **options):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **options)


# --- the kernel ------------------------------------------------------------------------------------

class Kernel:
    """vmlinuz and modules of the package on which linux-image-cloud-amd64 depends, or another; `env` for
    the apt that has it."""

    def __init__(self, cache, meta_package=META_PACKAGE, env=None):
        os.makedirs(cache, exist_ok=True)
        self.root = os.path.join(cache, "kernel")
        self.meta_package, self.env = meta_package, env
        if not self.image():
            self.fetch(cache)
        self.version = os.path.basename(self.image()).removeprefix("vmlinuz-")

    def image(self):
        found = glob.glob(os.path.join(self.root, "boot", "vmlinuz-*"))
        return found[0] if found else None

    def fetch(self, cache):
        fresh = self.root + ".new"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            depends = run("apt-cache", "depends", self.meta_package, env=self.env).stdout
            name = re.search(r"Depends: (linux-image-\S+)", depends)
            if name is None:
                raise Unavailable(f"apt knows no package {self.meta_package}")
            run("apt-get", "-o", "APT::Sandbox::User=root", "download", name[1], cwd=cache,
                env=self.env)
            package, = glob.glob(os.path.join(cache, name[1] + "_*.deb"))
            run("dpkg-deb", "-x", package, fresh)
            os.unlink(package)
        except (OSError, ValueError, subprocess.CalledProcessError) as e:
            reason = (getattr(e, "stderr", "") or str(e)).strip().splitlines()[-1:]
            raise Unavailable(f"no guest kernel: {' '.join(reason)}") from e
        os.rename(fresh, self.root)

    def modules(self):
        """(name, path) of the modules that the initramfs brings, in the order of loading."""
        for name in MODULES:
            for path in glob.glob(f"{self.root}/lib/modules/*/kernel/**/{name}.ko", recursive=True):
                yield name, path


# --- the initramfs ---------------------------------------------------------------------------------

def libraries(path):
    """The shared libraries that a program or library is linked with; none when it is static."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        raise Unavailable(f"{path} lacks a library: {done.stdout.strip()}")
    return re.findall(r"(/\S+) \(0x", done.stdout)


class Initramfs:
    """A directory that becomes an archive. Of every file the name is kept and links are followed."""

    def __init__(self, root):
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(os.path.join(root, "usr", name))
            os.symlink("usr/" + name, os.path.join(root, name))
        for name in ("dev", "proc", "sys", "tmp", "run", "etc", "root", "sys/fs"):
            os.makedirs(os.path.join(root, name), exist_ok=True)

    def target(self, path):
        # Of a machine with or without merged /usr; ours is merged.
        path = re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", os.path.normpath(path))
        return self.root + path

    def add(self, path, inside=None):
        """A file of this machine and what it is linked with; directories with all that is in them."""
        if os.path.isdir(path):
            for name in sorted(os.listdir(path)):
                if name != "__pycache__":
                    self.add(os.path.join(path, name),
                             os.path.join(inside, name) if inside else None)
            return
        if not os.path.exists(path):
            raise Unavailable(f"{path} is not there")
        target = self.target(inside or path)
        if os.path.exists(target):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)
        with open(path, "rb") as f:
            is_elf = f.read(4) == b"\x7fELF"
        if is_elf:
            for library in libraries(path):
                self.add(library)

    def add_busybox(self):
        self.add(APPLETS_OF, "/bin/busybox")
        for name in run(APPLETS_OF, "--list").stdout.split():
            link = os.path.join(self.root, "usr", "bin", name)
            if not os.path.lexists(link):
                os.symlink("busybox", link)

    def write(self, archive):
        names = [os.path.relpath(os.path.join(d, n), self.root)
                 for d, dirs, files in os.walk(self.root) for n in dirs + files]
        with open(archive + ".new", "wb") as f:
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=self.root,
                           input="\n".join(sorted(names)).encode(), stdout=f, check=True)
        os.rename(archive + ".new", archive)


def find_tool(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path


def guest_programs(build):
    """The programs of guest/, where the build has them."""
    return [path for path in glob.glob(os.path.join(build, "tests", "vm", "guest", "*"))
            if os.path.isfile(path) and os.access(path, os.X_OK)]


def build_initramfs(kernel, build, archive, extra, programs=None):
    """An archive with busybox, the tools, this build, and the files `extra`, at their paths.

    A file below the build directory goes to the same place below /slabnode. `programs` are those of
    guest/, when they are not those of the build."""
    for tool in ("cpio", "busybox", "ldd"):
        find_tool(tool)
    tree = Initramfs(archive + ".root")
    for name in BUILT:
        tree.add(os.path.join(build, name), "/slabnode/" + name)
    for path in guest_programs(build) if programs is None else programs:
        tree.add(path, "/slabnode/tests/vm/" + os.path.basename(path))
    for path in TOOLS:
        tree.add(path)
    for path in extra:
        below = os.path.relpath(path, build)
        tree.add(path, None if below.startswith("..") else "/slabnode/" + below)
    tree.add(os.path.join(HERE, "guest", "init"), "/init")
    for name, path in kernel.modules():
        tree.add(path, f"/slabnode/modules/{name}.ko")
    tree.add_busybox()
    tree.write(archive)
    shutil.rmtree(tree.root)
