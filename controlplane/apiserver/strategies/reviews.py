"""Reviews: created, answered by auth.reviews, never stored."""

from __future__ import annotations

from controlplane.apiserver.strategy import Strategy


class ReviewStrategy(Strategy):
    create_only = True
