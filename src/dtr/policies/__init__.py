"""The policies: models whose blocks can be gated, scored and dropped."""

from dtr.policies.base import Batch, Observation, Policy
from dtr.policies.gate import Gate
from dtr.policies.registry import build, policy_class, skeleton
from dtr.policies.stack import Stack, StackShape

__all__ = ["Batch", "Gate", "Observation", "Policy", "Stack", "StackShape", "build", "policy_class", "skeleton"]
