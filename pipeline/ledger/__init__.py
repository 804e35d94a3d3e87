"""The ledger: every track, every job, what happened. Nothing outside this package speaks SQL."""

from pipeline.ledger.book import Ledger
from pipeline.ledger.schema import State

__all__ = ["Ledger", "State"]
