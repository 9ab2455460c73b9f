"""What hotplugctl does on a terminal: the live screen, the progress bar, colours, narrow tables."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from support import HOTPLUGCTL, MockCase, clean_environment

COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")


class Terminal:
    """A terminal of its own, emulated by tmux, in which a command runs."""

    def __init__(self, case, command, columns=80, lines=24, **environment):
        self.directory = tempfile.mkdtemp(prefix="hotplugctl-tmux-")
        case.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        case.addCleanup(self.tmux, "kill-server", check=False)
        self.case = case
        # A shell around it shows that the terminal is usable again, and how the command ended.
        script = f"trap : INT; {command}; echo ended with $?; stty -a | grep -ow -- '-\\?icanon'; sleep 600"
        unset = [f"-u{name}" for name in ("NO_COLOR", "COLUMNS", "LINES")]
        settings = [f"{name}={value}" for name, value in environment.items()]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines),
                  "env", *unset, *settings, "sh", "-c", script)

    def tmux(self, *words, check=True):
        return subprocess.run(["tmux", "-S", f"{self.directory}/socket", *words], text=True,
                              capture_output=True, env=clean_environment(), check=check).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, columns, lines):
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def text(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def wait(self, pattern, seconds=15):
        """Until the screen matches; what is on it then."""
        end = time.monotonic() + seconds
        while not re.search(pattern, text := self.text(), re.M):
            if time.monotonic() > end:
                self.case.fail(f"never saw {pattern!r} on:\n{text}")
            time.sleep(0.05)
        return text


@unittest.skipUnless(shutil.which("tmux"), "needs tmux")
class Top(MockCase):
    def top(self, *options, arguments="", columns=80, lines=24, **environment):
        self.mock = self.start("caches=3", *options)
        return Terminal(self, f"{HOTPLUGCTL} {arguments or f'-p {self.mock.pid}'} top", columns,
                        lines, **environment)

    def test_nodes_above_caches_below(self):
        text = self.top().wait(r"^malloc-192").splitlines()
        self.assertRegex(text[0], rf"^hotplugctl top: {self.mock.pid} mock +every 1s  \d\d:")
        self.assertEqual(text[1], "topology synthetic, fast path rseq, placement simulated")
        self.assertRegex(text[2], r"^ NODE STATE .*LIVE +CACHED +RESIDENT +FREE$")
        for node, line in enumerate(text[3:7]):
            self.assertRegex(line, rf"^ +{node} online +\[[#+.]+\]")
        # 353M of 512M are live: two thirds of the bar.
        bar = re.search(r"\[(.*)\]", text[6]).group(1)
        self.assertAlmostEqual(bar.count("#") / len(bar), 353 / 512, delta=1 / len(bar))
        self.assertEqual(bar.count("+"), 1, "something is never nothing")
        self.assertRegex(text[7], r"^CACHE +SIZE +ACTIVE +TOTAL +USE% +CACHED +SLABS +\*BYTES")
        self.assertRegex(text[8], r"^malloc-64 +64 +60 +768 +7.8 +0 +6 +48K$")
        self.assertTrue(all(len(line) <= 80 for line in text))

    def test_transitions_as_they_happen(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        self.expect(0, "-p", self.mock.pid, "offline", "1")
        text = screen.wait(r"^> .* node 1: going-offline -> offline  request", 3)
        self.assertRegex(text, r"(?m)^> +1 offline")
        self.assertRegex(text, r"(?m)^ +0 online")
        screen.wait(r"^  .* node 1: going-offline -> offline", 15)  # it stands out no longer

    def test_an_offline_under_way_shows_its_phase(self):
        screen = self.top("busy=1")
        screen.wait(r"^malloc-64")
        self.expect(0, "-p", self.mock.pid, "offline", "1", "--policy", "wait", "--detach")
        screen.wait(r"^> +1 going-offline waiti")
        self.expect(0, "-p", self.mock.pid, "cancel", "1")
        screen.wait(r"^> +1 online")

    def test_keys(self):
        screen = self.top()
        screen.wait(r"^malloc-64.*(\n.*)?\nmalloc-")
        screen.keys("n")
        screen.wait(r"^\*CACHE.*\nmalloc-64 .*\nmalloc-128 .*\nmalloc-192 ")
        screen.keys("n")
        screen.wait(r"^\*CACHE.*\nmalloc-192 .*\nmalloc-128 .*\nmalloc-64 ")
        screen.keys("a", "d")
        screen.wait(r"^CACHE +NODE +SIZE +\*ACTIVE.*\nmalloc-64 +3 ")
        screen.keys("Down")
        screen.wait(r"\*ACTIVE.*\nmalloc-128 +3 ")
        screen.keys("?")
        screen.wait("the other way round")
        screen.keys("?", "-")
        screen.wait("every 0.5s")
        screen.keys("+", "+")
        screen.wait("every 2s")

    def test_pause(self):
        log = self.directory / "log"
        screen = self.top(f"log={log}")
        screen.wait(r"^malloc-64")
        screen.keys("p")
        screen.wait("PAUSED")
        time.sleep(0.5)
        asked = log.read_text().count("status")
        time.sleep(2.5)
        self.assertEqual(log.read_text().count("status"), asked)
        screen.keys("p")
        time.sleep(2.5)
        self.assertGreater(log.read_text().count("status"), asked)
        self.assertNotIn("PAUSED", screen.text())

    def test_resize(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        for columns, lines in ((200, 50), (40, 16), (20, 4), (80, 24)):
            screen.resize(columns, lines)
            text = screen.wait(r"^q quit")
            self.assertTrue(all(len(line) <= columns for line in text.splitlines()))
            if lines >= 12:
                screen.wait(r"^ +3 online +\[[#+.]+\]")
                screen.wait(r"^CACHE.*\*BYTES\nmalloc-64 ")

    def test_the_process_ends(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        self.mock.kill()
        self.mock.wait()
        text = screen.wait("! the process has ended; these are its last figures")
        self.assertRegex(text, r"(?m)^malloc-64")
        time.sleep(1.5)
        self.assertRegex(screen.text(), r"(?m)^! the process has ended(.|\n)*^malloc-64")
        screen.keys("q")
        self.assertIn("\nicanon", screen.wait("ended with 0(.|\n)*icanon"))

    def test_the_process_is_stopped(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        os.kill(self.mock.pid, 19)
        screen.wait("! the process is stopped")
        os.kill(self.mock.pid, 18)
        screen.wait("^topology synthetic")
        screen.keys("q")
        screen.wait("ended with 0")

    def test_interrupt_restores_the_terminal(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        screen.keys("C-c")
        self.assertIn("\nicanon", screen.wait("ended with (0|130)(.|\n)*icanon"))

    def test_next_process(self):
        other = self.start("caches=1").pid
        screen = self.top(arguments="-a")
        first = screen.wait(r"^malloc-64")
        self.assertRegex(first, r"\(1 of 2, Tab\)")
        screen.keys("Tab")
        screen.wait(r"\(2 of 2, Tab\)")
        seen = {int(re.search(r"top: (\d+)", text).group(1)) for text in (first, screen.text())}
        self.assertEqual(seen, {other, self.mock.pid})
        screen.wait(r"^malloc-64")

    def test_colours(self):
        screen = self.top()
        screen.wait(r"^malloc-64")
        self.assertRegex(screen.text("-e"), COLOUR)
        screen = self.top(NO_COLOR="1")
        screen.wait(r"^malloc-64")
        self.assertNotRegex(screen.text("-e"), COLOUR)

    def test_without_a_screen(self):
        pid = self.start().pid
        done = self.expect(1, "-p", pid, "top")
        self.assertIn("hotplugctl status", done.stderr)
        screen = Terminal(self, f"{HOTPLUGCTL} -p {pid} top", TERM="nonsense")
        self.assertIn("see TERM", screen.wait("ended with 1"))


class OnTerminal(MockCase):
    """Through a plain pseudo-terminal: what is written, byte by byte."""

    def on_terminal(self, *words, columns=80, **environment):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = clean_environment(**{"TERM": "xterm", **environment})
        env.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
        tool = subprocess.Popen([HOTPLUGCTL, *map(str, words)], stdin=slave, stdout=slave,
                                stderr=slave, env=env)
        os.close(slave)
        written = b""
        while select.select([master], [], [], 20)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            written += part
        os.close(master)
        tool.wait(20)
        return written.decode()

    def test_narrow_tables_leave_columns_out_and_say_so(self):
        pid = self.start("nodes=12").pid
        for words in (["status"], ["slabinfo"], ["list", "-p", pid], ["topology", "-n"]):
            for columns in (80, 60, 40):
                text = self.on_terminal("-p", pid, *words, columns=columns, NO_COLOR="1")
                for line in text.splitlines():
                    self.assertLessEqual(len(line), columns, (words, line))
        text = self.on_terminal("-p", pid, "status", columns=50, NO_COLOR="1")
        self.assertRegex(text, r"\(-o chooses; no room for [A-Z%,\s]*FALLBACK\)")
        self.assertRegex(text, r"NODE +STATE.*LIVE +CACHED")
        text = self.on_terminal("-p", pid, "status", "-o", "node,fallback", columns=10,
                                NO_COLOR="1")
        self.assertNotIn("no room", text)

    def test_every_process_has_its_rows_on_80_columns(self):
        asked, mute = self.start().pid, self.start("mode=nosocket").pid
        text = self.on_terminal("-a", "status", NO_COLOR="1")
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80)
        self.assertRegex(text, rf"(?m)^ *{asked} (mock )? *3 online")
        self.assertRegex(text, rf"(?m)^ *{mute} \(?\S+:? +\(?no control thread\)")
        self.assertRegex(self.on_terminal("-a", "status", NO_COLOR="1", columns=120),
                         rf"(?m)^ *{asked} +mock +3 +online")

    def test_words_of_the_last_column_go_on_below(self):
        pid = self.start().pid
        whole = self.expect(0, "-p", pid, "options").stdout.splitlines()
        text = self.on_terminal("-p", pid, "options", NO_COLOR="1", columns=76).splitlines()
        self.assertGreater(len(text), len(whole))
        self.assertTrue(all(len(line) <= 76 for line in text), text)
        begin = text[0].index("HELP")
        self.assertEqual(" ".join(line[begin:] for line in text[1:]).split(),
                         " ".join(line[whole[0].index("HELP"):] for line in whole[1:]).split())
        self.assertFalse(any(line[:begin].strip() for line in text[1:]
                             if not line.startswith("SLABNODE_")))

    def test_notes_go_on_below(self):
        pid = self.start().pid
        text = self.on_terminal("-p", pid, "fault", "list", NO_COLOR="1", columns=60)
        self.assertGreater(len(text.splitlines()), 2)
        self.assertTrue(all(len(line) <= 60 for line in text.splitlines()), text)

    def test_colours_only_on_terminals_and_by_leave(self):
        pid = self.start().pid
        self.expect(0, "-p", pid, "offline", "1")
        shown = self.on_terminal("-p", pid, "status")
        self.assertRegex(shown, r"\x1b\[31moffline\x1b\[0m")
        self.assertRegex(shown, r"\x1b\[32monline\x1b\[0m")
        for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", self.on_terminal("-p", pid, "status", **more))
        self.assertRegex(self.on_terminal("-p", pid, "status", NO_COLOR=""), COLOUR)
        plain = self.expect(0, "-p", pid, "status", TERM="xterm").stdout
        self.assertNotIn("\x1b", plain)
        self.assertIn("offline", plain, "the word says it, too")

    def test_progress_fits_and_has_rate_and_estimate(self):
        pid = self.start("busy=1").pid
        for columns in (120, 80, 40):
            text = self.on_terminal("-p", pid, "offline", "1", "--policy", "wait", "--timeout",
                                    "1", columns=columns)
            drawn = [line.replace("\x1b[K", "") for line in text.split("\r")
                     if line.startswith("node 1 waiting")]
            self.assertGreater(len(drawn), 3)
            self.assertTrue(all(len(line) < columns for line in drawn))
            if columns >= 80:
                self.assertRegex(drawn[-1], r"\[#*\.+\] +\d+%  \d+ of 1000  \d+/s  \d+s left$")


@unittest.skipUnless(shutil.which("tmux"), "needs tmux")
class Interrupt(MockCase):
    def test_ctrl_c_cancels_and_says_so(self):
        pid = self.start("busy=1,2").pid
        for nodes, back in (("1", "node 1 is back"), ("1,2", "nodes? 1(,2)? (is|are) back")):
            screen = Terminal(self, f"{HOTPLUGCTL} -p {pid} offline {nodes} --policy wait", 100)
            screen.wait(r"^node 1 waiting +\[")
            screen.keys("C-c")
            screen.wait(back)
            screen.wait("ended with (5|64)")
            if nodes == "1":
                self.assertNotIn("ECANCELED", screen.text(), "the same once more")
            states = [n["state"] for n in self.expect_json(0, "-p", pid, "status")["nodes"]]
            self.assertEqual(states, ["online"] * 4)
            if nodes == "1":
                self.assertIn("ended with 5", screen.text())
