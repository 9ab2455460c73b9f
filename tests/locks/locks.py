#!/usr/bin/python3
"""clang refuses code that breaks the rules of core/annotate.h.

    locks.py ROW | --list

Each row compiles two snippets against the core's headers: one that keeps the rule, which clang has to
take, and one that breaks it, which it has to refuse for just that. Without this an annotation that
clang ignores would look like one that is obeyed.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CORE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "core")
LATE = "-fexperimental-late-parse-attributes"
FLAGS = [LATE, "-DSN_THREAD_SAFETY", "-D_GNU_SOURCE", "-std=gnu11", "-fsyntax-only", "-x", "c",
         "-Werror=thread-safety", "-Werror=thread-safety-beta", "-I", CORE, "-"]

LOCKED = "sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);"
UNLOCK = "sn_lock_release(&node->page_lock, SN_RANK_PAGES);"
LIST = "sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);"
CYCLE = "sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);"
UNCYCLE = "sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);"
UNLIST = "sn_lock_release(&cn->list_lock, SN_RANK_LIST);"

# name: (what both begin with, the body that keeps the rule, the one that breaks it, the complaint)
ROWS = {
    "field": ("void f(struct sn_node *node)", f"{LOCKED} node->segments = NULL; {UNLOCK}",
              "node->segments = NULL;", "writing variable 'segments' requires holding"),
    "pointee": ("unsigned int f(struct sn_cache_node *cn)",
                f"unsigned int n; {LIST} n = cn->shared->avail; {UNLIST} return n;",
                "return sn_counter_read(cn->shared)->avail + cn->shared->avail;",
                "reading variable 'shared' requires holding"),
    "caller": ("void f(struct sn_node *node, struct sn_segment *s)",
               f"{LOCKED} sn_segments_hide(node, s, 1, true); {UNLOCK}",
               "sn_segments_hide(node, s, 1, true);", "calling function 'sn_segments_hide' requires"),
    "excluded": ("void f(struct sn_node *node)", f"{LOCKED} {UNLOCK} sn_make_room(node);",
                 f"{LOCKED} sn_make_room(node); {UNLOCK}", "cannot call function 'sn_make_room' while"),
    "forgotten": ("void f(struct sn_node *node, bool b)", f"{LOCKED} if (b) node->span_low = 0; {UNLOCK}",
                  f"{LOCKED} if (b) return; {UNLOCK}", "is not held on every path"),
    "order": ("void f(struct sn_node *node, struct sn_cache_node *cn)",
              f"{LIST} {LOCKED} {UNLOCK} {UNLIST}", f"{LOCKED} {LIST} {UNLIST} {UNLOCK}",
              "'list_lock' must be acquired before 'page_lock'"),
    # Not neighbours in the order.
    "far-order": ("void f(struct sn_node *node)", f"{CYCLE} {LOCKED} {UNLOCK} {UNCYCLE}",
                  f"{LOCKED} {CYCLE} {UNCYCLE} {UNLOCK}",
                  "'sn_lifecycle_lock' must be acquired before 'page_lock'"),
    # What statistics do is allowed; a plain read is not.
    "counter": ("size_t f(struct sn_node *node)", "return sn_counter_read(node->mapped_pages);",
                "return node->mapped_pages;", "reading variable 'mapped_pages' requires holding"),
}


def knows(clang):
    run = subprocess.run([clang, LATE, "-fsyntax-only", "-x", "c", "/dev/null"],
                         stderr=subprocess.DEVNULL, check=False)
    return run.returncode == 0


def find_clang():
    for name in ["clang", *(f"clang-{n}" for n in range(30, 18, -1))]:
        if shutil.which(name) and knows(name):
            return name
    print("skip: no clang that knows a struct's fields in attributes (19 or newer)")
    sys.exit(77)


def compile_with(clang, begin, body):
    text = f'#include "cache.h"\n#include "large.h"\n{begin}\n{{\n{body}\n}}\n'
    run = subprocess.run([clang, *FLAGS], input=text, text=True, capture_output=True, check=False)
    return run.returncode, run.stderr


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
        return
    begin, right, wrong, complaint = ROWS[sys.argv[1]]
    clang = find_clang()
    status, text = compile_with(clang, begin, right)
    if status != 0:
        sys.exit(f"{clang} refuses what keeps the rule:\n{text}")
    status, text = compile_with(clang, begin, wrong)
    if status == 0 or complaint not in text:
        sys.exit(f"{clang} does not say \"{complaint}\" of what breaks the rule:\n{text}")


if __name__ == "__main__":
    main()
