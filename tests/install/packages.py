#!/usr/bin/python3
"""The Debian packages: built, looked through by lintian, installed, used, and removed again.

    packages.py ROW | --list

They are installed into a copy of this machine's root (an overlay in a mount namespace, gone with the
process): nothing of it reaches the machine.
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from prefix import SOURCE, fail, run, skip

PACKAGES = ["libslabnode1", "libslabnode-dev", "slabnode"]
PACKAGING = SOURCE / "tools/packaging"

# In the copy of the root: $work has the packages and the test of what is installed.
USE = r"""
set -eux
work=$1
status() { dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2>/dev/null || echo none; }
if ! dpkg -i "$work"/libslabnode1_*.deb "$work"/libslabnode-dev_*.deb "$work"/slabnode_*.deb \
	>"$work/log" 2>&1; then
	cat "$work/log"
	exit 1
fi
for package in libslabnode1 libslabnode-dev slabnode; do
	[ "$(status "$package")" = "ii " ]
	dpkg --verify "$package"
done
cd /
sh "$work/smoke"
chmod a+rx "$work" "$work/smoke"
setpriv --reuid=65534 --regid=65534 --clear-groups sh "$work/smoke"
man -P cat 1 hotplugctl >/dev/null 2>&1
# The tools need nothing of the headers' package, and the library nothing of the tools'.
dpkg -r libslabnode-dev slabnode >>"$work/log" 2>&1
LD_PRELOAD=libslabnode.so.1 SLABNODE_STATS=exit ls / 2>&1 | grep -q 'nodes at exit'
dpkg -P libslabnode-dev slabnode libslabnode1 >>"$work/log" 2>&1
for package in libslabnode1 libslabnode-dev slabnode; do
	[ "$(status "$package")" = none ]
done
"""

# What installing anything changes: the lists and caches of the package manager and of its triggers.
TRACES = (r"(var/lib/dpkg|var/log|var/cache/(ldconfig|man|debconf)|var/lib/systemd|etc/ld\.so\.cache|"
          r"etc/systemd|tmp|root|run)(/|$)")


def build(target):
    for tool, package in (("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper")):
        if not shutil.which(tool):
            skip(f"{package} is not installed")
    done = subprocess.run([str(PACKAGING / "build-deb"), str(target)], capture_output=True, text=True,
                          timeout=900, check=False)
    if "Unmet build dependencies" in done.stderr:
        skip(re.search(r"Unmet build dependencies.*", done.stderr).group(0))
    if done.returncode != 0:
        fail(done.stdout[-4000:], done.stderr[-4000:])
    have = {os.path.basename(f).split("_")[0] for f in glob.glob(f"{target}/*.deb")}
    have = {p for p in have if not p.endswith("-dbgsym")}
    if have != set(PACKAGES):
        fail(f"built {sorted(have)}, wanted {sorted(PACKAGES)}")


def lint(target):
    """Neither errors nor warnings."""
    if not shutil.which("lintian"):
        return "lintian is not installed"
    run(["lintian", "--allow-root", "--fail-on", "error,warning",
         *glob.glob(f"{target}/*.changes")], timeout=300)
    return None


def use(target):
    """Installed, used and removed in a copy of the root."""
    work = pathlib.Path(target)
    shutil.copy(PACKAGING / "debian/tests/smoke", work / "smoke")
    (work / "use").write_text(USE)
    root = work / "root"
    root.mkdir()
    # The copy's /tmp is the machine's: $work is where it was.
    script = f"""
set -e
mount -t tmpfs copy {root}
mkdir {root}/upper {root}/work {root}/all
mount -t overlay overlay -o lowerdir=/,upperdir={root}/upper,workdir={root}/work {root}/all
mount -t proc proc {root}/all/proc
mount --rbind /dev {root}/all/dev
mount -t tmpfs tmp {root}/all/tmp
mkdir -p {root}/all{work}
cp {work}/*.deb {work}/smoke {work}/use {root}/all{work}
status=0
env -i PATH="$PATH" DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 TMPDIR=/tmp \
	chroot {root}/all sh {work}/use {work} || status=$?
cd {root}/upper
find . -mindepth 1 -printf '%y %P\\n' >{work}/left
exit $status
"""
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                          capture_output=True, text=True, timeout=300, check=False)
    # As root, and as an ordinary user.
    if done.returncode != 0 or done.stdout.count("smoke: all well") != 2:
        fail(done.stdout, done.stderr)
    left = [line for line in (work / "left").read_text().splitlines()
            if not line.startswith("d ") and not re.match(TRACES, line[2:])]
    if left:
        fail("left behind, or changed:", *left)


def may_unshare():
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c",
                           "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/a && mount -t overlay o "
                           "-o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/a"],
                          capture_output=True, check=False)
    return done.returncode == 0


def deb():
    with tempfile.TemporaryDirectory(prefix="slabnode-deb-", dir="/tmp") as target:
        build(target)
        missing = lint(target)
        if not may_unshare():
            skip("built; no overlay can be mounted here to install them in")
        use(target)
        if missing:
            skip(f"built and used; {missing}")


def versions():
    """One version everywhere: meson.build, the header, the changelog of the packages."""
    version = re.search(r"version: '([\d.]+)'", (SOURCE / "meson.build").read_text()).group(1)
    header = (SOURCE / "include/slabnode.h").read_text()
    parts = [re.search(rf"SLABNODE_VERSION_{p} (\d+)", header).group(1) for p in ("MAJOR", "MINOR")]
    changelog = (PACKAGING / "debian/changelog").read_text()
    packaged = re.match(r"slabnode \(([^)-]+)\)", changelog).group(1)
    if not version.startswith(".".join(parts) + ".") or packaged != version:
        fail(f"meson.build {version}, slabnode.h {'.'.join(parts)}, changelog {packaged}")
    soversion = re.search(r"slabnode_soversion = '(\d+)'",
                          (SOURCE / "preload/meson.build").read_text()).group(1)
    if f"libslabnode{soversion}" not in PACKAGES:
        fail(f"the soname's version is {soversion}, the packages are {PACKAGES}")
    control = (PACKAGING / "debian/control").read_text()
    if re.findall(r"^Package: (.*)", control, re.M) != PACKAGES:
        fail("debian/control has other packages")


ROWS = {"deb": deb, "versions": versions}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: packages.py ROW | --list")
