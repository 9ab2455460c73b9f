"""Interpreters and shells, with the test modules that python ships for itself."""

import os
import re
import tempfile

import subject
from subject import both, fail, need, run, skip

PYTHON = "/usr/bin/python3"


def python_module(module, timeout):
    """python's own test module gives the same outcome, test by test."""
    found = run([PYTHON, "-c", f"import test.{module}"], False, check=False)
    if found.returncode:
        skip("python's own test modules are not installed (libpython3.11-testsuite)")
    outcome = []
    for under in (False, True):
        with tempfile.TemporaryDirectory() as cwd:
            done = run([PYTHON, "-m", "test", "-v", "-u", "none", module], under, cwd=cwd,
                       timeout=timeout, check=False)
            text = done.stdout.decode(errors="replace")
            tests = dict(re.findall(r"^(test\w+ \([\w.]+\)).*?\.\.\. (ok|skipped|FAIL|ERROR)", text,
                                    re.M | re.S))
            bad = {k for k, v in tests.items() if v in ("FAIL", "ERROR")}
            # Messages of the tests may stand between a name and its outcome; the summary counts.
            ran = re.findall(r"^Ran (\d+) tests?", text, re.M)
            outcome.append((done.returncode, bad, ran, done.stdout + done.stderr))
    alone, under = outcome
    if not under[2] or alone[2] != under[2]:
        fail(f"{alone[2]} tests ran alone, {under[2]} under the library", under[3])
    worse = sorted(under[1] - alone[1])
    if worse or (under[0] != 0 and alone[0] == 0):
        fail(f"{module}: worse under the library: {worse}, status {under[0]}", under[3])


def python_threading():
    python_module("test_threading", 600)


def python_subprocess():
    python_module("test_subprocess", 600)


def python_json():
    python_module("test_json", 300)


PYTHON_SCRIPT = """
import bz2, collections, concurrent.futures, hashlib, itertools, json, lzma, multiprocessing
import pickle, re, sqlite3, struct, zlib

def work(n):
    data = [{"key": i, "text": "x" * (i % 97), "nested": list(range(i % 13))} for i in range(n)]
    blob = json.dumps(data, sort_keys=True).encode()
    for c in (zlib, bz2, lzma):
        assert c.decompress(c.compress(blob)) == blob
    assert pickle.loads(pickle.dumps(data)) == data
    words = collections.Counter(re.findall(r"[a-z]+", blob.decode()))
    return hashlib.sha256(blob + repr(sorted(words.items())).encode()).hexdigest()

if __name__ == "__main__":
    print(work(5000))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        print(list(pool.map(work, range(100, 1500, 200))))
    for how in ("fork", "spawn"):
        with multiprocessing.get_context(how).Pool(3) as pool:
            print(pool.map(work, range(100, 900, 200)))
    db = sqlite3.connect(":memory:")
    db.execute("create table t (a integer primary key, b text)")
    db.executemany("insert into t values (?, ?)", ((i, "v" * (i % 300)) for i in range(20000)))
    print(db.execute("select count(*), sum(length(b)), max(b) from t").fetchall())
    print(sum(map(len, itertools.permutations("abcdefgh"))), len(bytes(10**8)))
"""


def python_script():
    with tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        f.write(PYTHON_SCRIPT)
        f.flush()
        out = both([PYTHON, f.name], env={"PYTHONHASHSEED": "0"})
    if out.count(b"\n") != 6:
        fail("the script did less than it should", out)


PERL_SCRIPT = r"""
use strict; use warnings; use List::Util qw(sum shuffle); use Data::Dumper;
$Data::Dumper::Sortkeys = 1; srand(42);
my %h; my $x = 12345;
sub rnd { $x = ($x * 1103515245 + 12345) & 0x7fffffff; return $x % shift; }
for my $i (1 .. 200000) {
    my $k = "k" . rnd(5000);
    push @{ $h{$k} }, "v" x rnd(40);
    delete $h{$k} if @{ $h{$k} } > 30;
}
my $text = join(",", map { "$_=" . scalar(@{ $h{$_} }) } sort keys %h);
print length($text), " ", unpack("%32C*", $text), "\n";
$text =~ s/(\d+)=(\d+)/"$2:" . ("z" x $2)/ge;
print length($text), " ", unpack("%32C*", $text), "\n";
my @sorted = sort { $a <=> $b } map { rnd(1000000) } 1 .. 100000;
print sum(@sorted), " $sorted[0] $sorted[-1]\n";
print Dumper({ map { $_ => scalar @{ $h{$_} } } (sort keys %h)[0 .. 20] });
for (1 .. 20) {
    my $pid = fork();
    if (!$pid) { my @a = map { "c" x $_ } 1 .. 2000; exit(scalar(@a) == 2000 ? 7 : 1); }
    waitpid($pid, 0); print $? >> 8, "\n";
}
print `echo back; printf 'ticks %d\n' 3`;
"""


def perl():
    need("perl")
    both(["perl", "-"], stdin=PERL_SCRIPT.encode(), env={"PERL_HASH_SEED": "0"})


SHELL_SCRIPT = r"""
set -eu
count() { n=0; for w in $1; do n=$((n + 1)); done; echo "$n"; }
words=""
i=0
while [ "$i" -lt 500 ]; do words="$words word$i"; i=$((i + 1)); done
count "$words"
for i in 1 2 3 4 5 6 7 8 9 10; do
    ( x=$i; echo "sub $((x * x))" )
    v=$(printf '%s\n' "$words" | tr ' ' '\n' | sort | uniq | wc -l); echo "$v"
done
cat <<END | sed 's/a/b/g' | awk '{ print NR, toupper($0) }' | rev
alpha
banana
gamma $(echo inner)
END
( exit 3 ) || echo "status $?"
trap 'echo trapped' USR1; kill -USR1 $$; 
sleep 0.1 & wait $!; echo "waited $?"
i=0; while [ "$i" -lt 60 ]; do true; /bin/true; i=$((i + 1)); done
find /usr/share/doc -maxdepth 1 -name 'lib[a-c]*' | sort | cksum
seq 1 2000 | xargs -n 100 -P 2 echo | wc -w
"""

BASH_EXTRA = r"""
declare -A map; for i in {1..3000}; do map[k$i]=$((i * i)); done
echo "${#map[@]} ${map[k77]}"
mapfile -t lines < <(seq 1 5000); echo "${#lines[@]} ${lines[4999]}"
s=$(printf 'x%.0s' {1..5000}); echo "${#s} ${s//x/yy}" | md5sum
[[ "abc123" =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
coproc cat; echo hello >&"${COPROC[1]}"; read -r l <&"${COPROC[0]}"; echo "$l"
"""


def bash():
    need("bash")
    both(["bash", "-c", SHELL_SCRIPT + BASH_EXTRA], stderr=False)


def dash():
    need("dash")
    both(["dash", "-c", SHELL_SCRIPT])


def awk_sed():
    text = b"".join(b"line %d with some words and the number %d\n" % (i, i * 7919 % 10007)
                    for i in range(50000))
    both(["awk", '{ a[$NF % 1000] = a[$NF % 1000] $2 } END { for (i = 0; i < 1000; i++) '
          'print length(a[i]), substr(a[i], 1, 20) }'], stdin=text)
    both(["sed", "-E", r"s/([0-9]+) with (some)/\2-\1/g;n;d"], stdin=text)
    both(["grep", "-E", "-o", "number [0-9]*7$"], stdin=text)


CASES = {"python-threading": python_threading, "python-subprocess": python_subprocess,
         "python-json": python_json, "python-script": python_script, "perl": perl, "bash": bash,
         "dash": dash, "awk-sed": awk_sed}
