"""Processes that a test waits for by what they say and by their end, never by the clock."""

import subprocess
import sys
from queue import Empty, Queue
from threading import Thread

PATIENCE = 600
"""Seconds until a test gives up on a process that hangs; nothing else takes this long."""


class Child(subprocess.Popen):
    """`python ARGUMENTS …` with its lines on stderr as events; killed where its block ends."""

    def __init__(self, *arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        super().__init__([sys.executable, *map(str, arguments)], **pipes, **options)
        self.printed, self.said, self.lines = [], [], Queue()
        self.readers = [Thread(target=read, daemon=True) for read in (self._print, self._say)]
        for reader in self.readers:
            reader.start()

    def _print(self):
        self.printed.extend(self.stdout)

    def _say(self):
        for line in self.stderr:
            self.said.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def says(self, part):
        """Wait for a line of stderr that holds this part of it, and return it."""
        try:
            for line in iter(lambda: self.lines.get(timeout=PATIENCE), None):
                if part in line:
                    return line
        except Empty:
            raise AssertionError(f"hung before it said {part!r}:\n{''.join(self.said)}") from None
        raise AssertionError(f"ended without saying {part!r}:\n{''.join(self.said)}")

    def end(self):
        """Wait for its end: (exit code, stdout, stderr)."""
        code = self.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)  # a pipe ends once the last child of it has closed it too
        return code, "".join(self.printed), "".join(self.said)

    def __exit__(self, *error):
        self.kill()
        self.end()
        super().__exit__(*error)
