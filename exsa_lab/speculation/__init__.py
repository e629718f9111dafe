"""Speculative decoding as maths: what is accepted, what is proposed, how long a draft pays. No model, plain numpy.

Example::

    from exsa_lab.speculation import Distribution, RequestRandom, accept
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.speculation.ngram import NgramIndex
    from exsa_lab.speculation.rejection_sampling import DraftCheck, Verdict, accept
    from exsa_lab.speculation.sampling import Distribution, RequestRandom, apply_chain

__all__ = ["Distribution", "DraftCheck", "NgramIndex", "RequestRandom", "Verdict", "accept", "apply_chain"]

# Imported when first used, so that importing one module of this package costs no more than that module.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "Distribution": "exsa_lab.speculation.sampling",
        "DraftCheck": "exsa_lab.speculation.rejection_sampling",
        "NgramIndex": "exsa_lab.speculation.ngram",
        "RequestRandom": "exsa_lab.speculation.sampling",
        "Verdict": "exsa_lab.speculation.rejection_sampling",
        "accept": "exsa_lab.speculation.rejection_sampling",
        "apply_chain": "exsa_lab.speculation.sampling",
    },
)
