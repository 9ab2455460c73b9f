"""Programs that chew data: databases, version control, sorting, packing."""

import os
import random
import subprocess
import tempfile

from subject import both, compare, fail, need, run

SQL = """
pragma journal_mode = wal;
create table t (id integer primary key, name text, v real, b blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, 'name' || (i * 7919 % 10007), i * 0.5, zeroblob(i % 200) from n;
create index t_name on t (name);
select count(*), sum(length(b)), avg(v) from t;
select name, count(*) c from t group by name order by c desc, name limit 20;
begin; update t set name = name || 'x' where id % 7 = 0; delete from t where id % 11 = 0; rollback;
update t set b = zeroblob(5000) where id % 500 = 0;
delete from t where id % 3 = 0;
select count(*), sum(length(b)) from t;
create virtual table f using fts5(body);
insert into f select name || ' word' || (id % 50) || ' text' from t limit 20000;
select count(*) from f where f match 'word7';
select json_group_array(name) from (select name from t order by id limit 5);
with recursive q(a, b) as (select 1, 1 union all select a + 1, b * 3 % 1000003 from q where a < 50000)
select sum(b) from q;
vacuum; pragma integrity_check;
.schema
.dump f_config
"""


def sqlite():
    need("sqlite3")
    out = both(["sqlite3", "test.db"], stdin=SQL.encode())
    if b"\nok\n" not in out:
        fail("no integrity check in the output", out)


def make_tree(folder, seed):
    rng = random.Random(seed)
    for d in range(12):
        os.makedirs(os.path.join(folder, f"dir{d}", "sub"), exist_ok=True)
        for n in range(15):
            path = os.path.join(folder, f"dir{d}", "sub" if n % 5 == 0 else ".", f"file{n}.txt")
            with open(path, "w", encoding="utf-8") as f:
                for _ in range(rng.randrange(5, 400)):
                    f.write(f"{rng.randrange(10**9)} {'text ' * rng.randrange(12)}\n")


def git_history(under, top):
    env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": top,
           "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "C",
           "GIT_COMMITTER_EMAIL": "c@example.org"}
    repo = os.path.join(top, "repo")
    out = []

    def git(*args, when=0, keep=True):
        date = {"GIT_AUTHOR_DATE": f"{1700000000 + when} +0000",
                "GIT_COMMITTER_DATE": f"{1700000000 + when} +0000"}
        done = run(["git", *args], under, cwd=repo, env={**env, **date})
        if keep:
            out.append(done.stdout)

    os.mkdir(repo)
    git("init", "-q", "-b", "main")
    for c in range(5):
        make_tree(repo, c)
        git("add", "-A")
        git("commit", "-q", "-m", f"commit {c}", when=c)
    git("checkout", "-q", "-b", "side", "HEAD~3")
    with open(os.path.join(repo, "side.txt"), "w", encoding="utf-8") as f:
        f.write("side\n" * 1000)
    git("add", "-A")
    git("commit", "-q", "-m", "side", when=100)
    git("merge", "-q", "--no-edit", "-s", "ours", "main", when=101)
    git("log", "--stat", "--format=%H %T %an %ad %s")
    git("diff", "HEAD~2", "HEAD", "--stat", "-M")
    git("blame", "dir3/file7.txt")
    git("grep", "-c", "text text text")
    git("gc", "-q", keep=False)
    git("fsck", "--full", "--strict")
    git("rev-list", "--objects", "--all", "--no-object-names")
    git("clone", "-q", "--bare", ".", "../copy", keep=False)
    git("archive", "--format=tar", "HEAD")
    return out


def git():
    need("git")
    outs = []
    for under in (False, True):
        with tempfile.TemporaryDirectory() as top:
            outs.append(git_history(under, top))
    for n, (alone, under) in enumerate(zip(*outs, strict=True)):
        compare(f"output {n} of git", alone, under)
    if b"commit 4" not in b"".join(outs[1]):
        fail("the history is not there")


def sort():
    rng = random.Random(5)
    lines = "".join(f"{rng.randrange(10**9)} {rng.choice('abcdef')}{rng.randrange(99)}\n"
                    for _ in range(400000)).encode()
    for args in (["-S", "64M", "--parallel=4"], ["-n", "-u"], ["-k2,2V", "-k1,1nr", "-S", "8M"]):
        both(["sort", *args], stdin=lines)


def pack():
    """tar and the packers: what one side packed the other unpacks to the same tree."""
    need("xz", "tar", "gzip", "zstd")
    with tempfile.TemporaryDirectory() as top:
        tree = os.path.join(top, "tree")
        make_tree(tree, 3)
        sums = []
        for under in (False, True):
            tar = run(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0",
                       "--numeric-owner", "-C", top, "-cf", "-", "tree"], under).stdout
            packed = [tar]
            for packer in (["xz", "-6", "-T2"], ["xz", "-9e", "-T1"], ["gzip", "-9n"],
                           ["zstd", "-q", "-12", "-T1"]):
                small = run([*packer, "-c"], under, stdin=tar, timeout=500).stdout
                back = run([packer[0], "-dc"], under, stdin=small).stdout
                compare(f"{packer} round trip", tar, back)
                packed.append(small)
            sums.append(packed)
            out = os.path.join(top, f"out{under}")
            os.mkdir(out)
            run(["tar", "-C", out, "-xJf", "-"], under, stdin=packed[1])
            if subprocess.run(["diff", "-r", tree, os.path.join(out, "tree")]).returncode:
                fail("the unpacked tree differs")
        for a, b in zip(*sums, strict=True):
            compare("packed data", a, b)


CASES = {"sqlite": sqlite, "git": git, "sort": sort, "pack": pack}
