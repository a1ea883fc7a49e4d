"""What every test needs: one thread a process and memory settings as the command line has them, so that numbers are the same here."""

from dtr.cli import settle_process

settle_process()
