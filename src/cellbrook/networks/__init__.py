"""Networks and where their weights are: cards, the user's store, and loading into torch."""

from __future__ import annotations

from cellbrook.networks.base import NetworkSpec
from cellbrook.networks.cards import ModelCard
from cellbrook.networks.loading import load
from cellbrook.networks.store import ListedModel, ResolvedModel, list_models, resolve_model

__all__ = ["ListedModel", "ModelCard", "NetworkSpec", "ResolvedModel", "list_models", "load", "resolve_model"]
