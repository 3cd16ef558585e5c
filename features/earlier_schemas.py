"""Schema hashes of earlier releases, for features that the catalogue still computes alike.

Up to release 0.1 the hash was made of the expressions as Polars 2.1 serialised them, without the universe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from features.catalogue import schema_hash

_EARLIER: Mapping[str, str] = {
    "7045aee9c26d502b": "20c0d72ecfb290f2dfa20e6bcac58a3c90c090e76e15f312b717a7cdd286e5e2",
    "c12ca02e41dfa762": "9527283d453e0c9025e68303a3b6f448ca6d8b8eaae88100e746d4b4f9182582",
    "9de6f7f0b7615bc1": "19d318f039a58926e871e3d63887e07d95bce57e432f2ee9b3b4d389971b16dd",
    "1ea992ece4cba925": "5f674d7215a822dd9e6157b43738b943cb06b0810a56c814378bd11e26b2066e",
    "4737ed789c06bf48": "e99c93d4c0591125b4cee38702d8f2ba4bb995cb37a116d214ad2208a8bd0400",
    "b6b1b986b0ed6b69": "93e22a9dc0599e9dbbf819d6688326505dde08b91a0ea159ce6eefaa269239d8",
    "786087d38a6525cf": "98fb6ed37c4334cd725ba4121f9dee36597cc6ac2fba5ca5d8462d765f4e28d4",
    "d9e58a6c64e16827": "b154b99e7f7116c86b5a40fefb51302b3d9dbc96ff04a1c57188175a4c93c594",
}
"""By the first 16 digits of the hash without a universe, the earlier hash: of all features, and of those that are left
where the venue has no taker volumes, trade counts, quote volumes, or several of them. A changed catalogue no longer
finds its entry."""


def accepted_hashes(names: Sequence[str], universe: Iterable[str]) -> frozenset[str]:
    """The hashes that a model of these features and instruments may carry, this program's own among them.

    Raises ValueError if the catalogue lacks one of the features.
    """
    earlier = _EARLIER.get(schema_hash(names)[:16])
    return frozenset({schema_hash(names, universe)} | ({earlier} if earlier else set()))
