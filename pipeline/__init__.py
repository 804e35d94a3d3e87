"""The night: scan, ledger, supervisor, lanes, publishing, recovery, reports."""

__version__ = "0.1.0"
