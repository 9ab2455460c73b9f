#!/usr/bin/python3
"""Looks for inputs that break a parser, with libFuzzer.

    fuzz.py TARGET [--seconds S | --runs N]   starts from the kept inputs; those stay as they are
    fuzz.py TARGET --grow S                   the same, then keeps what was found, minimised
    fuzz.py --list

The targets are the C files beside this one that fuzz.h describes. They are built in a directory of
their own, build-check-fuzz, with clang. A failing input is printed by libFuzzer in Base64; put into
a file it is run again by build-check-fuzz/tests/fuzz/fuzz-TARGET FILE.
"""

import argparse
import base64
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(SOURCE, "build-check-fuzz")
CORPUS = os.path.join(HERE, "corpus")
LONGEST = 300  # bytes of an input: long ones are slow and find nothing more
SLOW = 120  # seconds after which an input counts as one that hangs: some take half a second alone


def skip(reason):
    print(f"skip: {reason}")
    sys.exit(77)


def run(argv, **more):
    """A step of the build: silent unless it fails."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        print(done.stdout)
        sys.exit(f"{argv[0]} failed")


def build(target):
    clang = shutil.which("clang-19") or shutil.which("clang")
    if not clang:
        skip("clang is not installed")
    env = dict(os.environ, CC=clang)
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(BUILD, "build.ninja")):
            run(["meson", "setup", "--buildtype=debugoptimized", "-Dbench=false", BUILD, SOURCE],
                env=env)
        program = f"tests/fuzz/fuzz-{target}"
        known = subprocess.run(["ninja", "-C", BUILD, "-t", "query", program],
                               capture_output=True, text=True)
        if known.returncode != 0:
            skip("the compiler has no libFuzzer")
        run(["ninja", "-C", BUILD, program])
    return os.path.join(BUILD, program)


def search(program, target, found, limits):
    """libFuzzer from the kept inputs; new ones go to the directory `found`."""
    with tempfile.TemporaryDirectory() as artifacts:
        try:
            subprocess.run([program, *limits, f"-max_len={LONGEST}", f"-timeout={SLOW}",
                            f"-dict={HERE}/dict/{target}", f"-artifact_prefix={artifacts}/",
                            "-print_final_stats=1", found, f"{CORPUS}/{target}"], check=True)
        except subprocess.CalledProcessError:
            show(artifacts)
            raise


def show(artifacts):
    """Inputs that broke it, as a shell writes them: for tests/fuzz/corpus/TARGET/bug-NAME."""
    for name in sorted(os.listdir(artifacts)):
        with open(os.path.join(artifacts, name), "rb") as f:
            print(f"{name}: base64 -d <<< {base64.b64encode(f.read()).decode()}", flush=True)


def keep(program, target, found):
    """The corpus anew: few small inputs that reach all that is reached, and what once broke it."""
    kept = os.path.join(CORPUS, target)
    with tempfile.TemporaryDirectory() as merged:
        subprocess.run([program, "-set_cover_merge=1", f"-max_len={LONGEST}", merged, found, kept],
                       check=True)
        for name in os.listdir(kept):
            if not name.startswith("bug-"):
                os.remove(os.path.join(kept, name))
        for name in os.listdir(merged):
            shutil.copy(os.path.join(merged, name), os.path.join(kept, name[:12]))
    print(f"{len(os.listdir(kept))} inputs are kept")


def main():
    p = argparse.ArgumentParser(description="looks for inputs that break a parser")
    p.add_argument("target", nargs="?")
    p.add_argument("--seconds", type=int)
    p.add_argument("--runs", type=int)
    p.add_argument("--grow", type=int, metavar="SECONDS")
    p.add_argument("--list", action="store_true")
    args = p.parse_args()
    if args.list:
        print("\n".join(sorted(os.listdir(CORPUS))))
        return
    program = build(args.target)
    limits = [f"-runs={args.runs}"] if args.runs else [
        f"-max_total_time={args.grow or args.seconds or 5}"]
    with tempfile.TemporaryDirectory() as found:
        try:
            search(program, args.target, found, limits)
            if args.grow:
                keep(program, args.target, found)
        except subprocess.CalledProcessError as e:
            sys.exit(f"an input breaks {args.target}: status {e.returncode}")


if __name__ == "__main__":
    main()
